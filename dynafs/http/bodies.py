"""JSON bodies: parsed into a type, with a refusal that names the field."""

import re
from typing import TypeVar

import msgspec

from dynafs.errors import RequestInvalid

T = TypeVar("T")

#: How msgspec names a field: that is missing or unknown, or at which a value is wrong.
_FIELD = re.compile(r"field `([^`]{1,64})`|`\$\.([^`]{1,64})`|`(key)` in `\$`")


def json_body(body: bytes, decoder: msgspec.json.Decoder[T], example: str) -> T:
    """Return what a JSON body holds; raise RequestInvalid naming the field that is missing, unknown or wrong.

    example: of a body that would do.
    """
    try:
        return decoder.decode(body)
    except RecursionError:
        raise RequestInvalid("body", f"nested too deep; for example {example}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        found = _FIELD.search(str(error))
        field = next((name for name in found.groups() if name), "body") if found else "body"
        raise RequestInvalid(field, f"{error}; for example {example}") from None
