"""JSON bodies: parsed into a type, with a refusal that names the field."""

import json
import re
from typing import TypeVar

import msgspec

from dynafs.errors import RequestInvalid

T = TypeVar("T")

#: How msgspec names a field: that is missing or unknown, or at which a value is wrong.
_FIELD = re.compile(r"field `([^`]{1,64})`|`\$\.([^`]{1,64})`|`(key)` in `\$`")


def json_body(body: bytes, decoder: msgspec.json.Decoder[T], example: str) -> T:
    """Return what a JSON body holds; raise RequestInvalid naming the field that is missing, unknown, wrong or repeated.

    example: of a body that would do.
    """
    try:
        found = decoder.decode(body)
        # msgspec takes the last one of two, and RFC 8259 section 4 leaves it open which one counts.
        json.loads(body, object_pairs_hook=_check_unique)
    except RecursionError:
        raise RequestInvalid("body", f"nested too deep; for example {example}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestInvalid(field_of(error), f"{error}; for example {example}") from None
    return found


def field_of(error: msgspec.DecodeError | UnicodeDecodeError) -> str:
    """Return the field that an error of msgspec is about, "body" when it names none."""
    found = _FIELD.search(str(error))
    return next((name for name in found.groups() if name), "body") if found else "body"


def _check_unique(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    for name in set(names):
        if names.count(name) > 1:
            raise RequestInvalid(name[:64] or "body", "given twice")
