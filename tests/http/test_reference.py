"""The reference of headers says what the code does, and is part of the package."""

from importlib.resources import files

import pytest

from dynafs.files.ranges import RANGE_COUNT_MAX
from dynafs.files.version import HEADER_FIELDS
from dynafs.http.fields import DIGEST_FIELDS, SINGLE_FIELDS
from dynafs.http.inspection import POLICY_SIZE_BYTES_MAX
from dynafs.http.openapi import DOCUMENT
from dynafs.http.upload_headers import CONTENT_TYPE_SIZE_BYTES_MAX, METADATA_SIZE_BYTES_MAX

TEXT = files("dynafs").joinpath("docs/reference/http.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted({*DIGEST_FIELDS, *SINGLE_FIELDS, *map(str.lower, HEADER_FIELDS)}))
def test_reference_names_every_field(name: str) -> None:
    """Fields that are checked, kept, or may come once only."""
    assert f"`{name}`" in TEXT.lower()


def test_reference_has_the_limits() -> None:
    """As they are in the code."""
    for limit in (
        f"more than {RANGE_COUNT_MAX} ranges", f"at most {CONTENT_TYPE_SIZE_BYTES_MAX} characters",
        f"at most {METADATA_SIZE_BYTES_MAX} bytes together", f"At most {POLICY_SIZE_BYTES_MAX} bytes of UTF-8",
    ):  # fmt: skip
        assert limit in TEXT.replace("\n", " ")


def test_api_document_names_headers_and_answers() -> None:
    """OpenAPI lists what a request for a file may say and what comes back."""
    file = DOCUMENT["paths"]["/v1/files/{bucket}/{path}"]
    sent = {one["name"] for one in file["put"]["parameters"] if one["in"] == "header"}
    assert sent >= HEADER_FIELDS
    assert {name.lower() for name in sent} >= set(DIGEST_FIELDS)
    for operation in (file["get"], DOCUMENT["paths"]["/v1/chunks/{id}"]["get"]):
        assert {"If-Match", "If-None-Match", "Range", "If-Range"} <= {one["name"] for one in operation["parameters"]}
        assert {"200", "206", "304", "412", "416"} <= set(operation["responses"])
