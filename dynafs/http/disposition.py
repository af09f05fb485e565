"""The Content-Disposition of a part of a form, and the boundary of the form.

Browsers send names as WHATWG defines it: in quotes, as UTF-8, with %22, %0D and %0A for a quote and a line break, and
with backslashes as they are. Older clients escape quotes by a backslash. `filename*` (RFC 8187) is not for forms
(RFC 7578 section 4.2); it is read because clients send it. What cannot be read is refused: a part without a filename
would be skipped as a plain field.
"""

import re
from urllib.parse import unquote_to_bytes

from multipart import content_disposition_unquote, header_unquote, parse_options_header

from dynafs.errors import RequestInvalid

_PARAMETER = re.compile(
    r"""\s*;\s*([A-Za-z0-9_*-]+)\s*=\s*("(?:\\.|[^"\\])*"(?=\s*(?:;|$))|"[^"]*"(?=\s*(?:;|$))|[^\s;"]+)"""
)
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'([^']*)", re.IGNORECASE)
#: RFC 2046 section 5.1.1.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


def boundary_of(content_type: str) -> str:
    """Return the boundary that the Content-Type of a request names. Raises RequestInvalid."""
    kind, parameters = parse_options_header(content_type, unquote=header_unquote)
    if kind != "multipart/form-data":
        raise RequestInvalid("Content-Type", "use multipart/form-data here, or PUT to store one file")
    boundary = str(parameters.get("boundary", ""))
    if not _BOUNDARY.fullmatch(boundary):
        raise RequestInvalid("Content-Type", "needs a boundary of 1 to 70 characters of RFC 2046")
    return boundary


def filename_of(disposition: str) -> str | None:
    """Return the filename, empty when it is, None when there is none. Raises RequestInvalid."""
    found = _parameters_of(disposition)
    if (extended := found.get("filename*")) is not None:
        return _extended(extended)
    quoted = found.get("filename")
    return None if quoted is None else str(content_disposition_unquote(quoted, filename=True))


def _parameters_of(disposition: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = len(disposition.partition(";")[0])
    while match := _PARAMETER.match(disposition, position):
        name, position = match[1].lower(), match.end()
        if name in found:
            raise RequestInvalid("Content-Disposition", f"{name} is given twice")
        if name.startswith("filename*") and name != "filename*":
            raise RequestInvalid("Content-Disposition", "a filename in several pieces is not supported")
        found[name] = match[2]
    if disposition[position:].strip(" \t;"):
        raise RequestInvalid("Content-Disposition", 'cannot be read; use form-data; name="NAME"; filename="FILE"')
    return found


def _extended(value: str) -> str:
    match = _EXTENDED.fullmatch(value)
    try:
        if match is not None:
            return unquote_to_bytes(match[2]).decode(match[1])
    except UnicodeDecodeError:
        pass
    raise RequestInvalid("filename*", "use UTF-8''NAME with percent-encoded UTF-8")
