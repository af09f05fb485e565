"""Header fields: one value or one list, and what must not be ignored.

Problem: a field may come in several lines, and a field that changes what a request means must not be dropped in
silence: its sender takes the answer for a yes.

Rule: fields of one value that come twice are refused for every request in one place, so that `headers.get` is right for
them; lists are read with `joined`. What changes the meaning of a body or of a write and is not offered is refused.
"""

from typing import NoReturn

from aiohttp import HttpVersion, HttpVersion11, web
from multidict import CIMultiDict, CIMultiDictProxy

from dynafs.errors import BodyIncomplete, NotSupported, RequestInvalid
from dynafs.files.conditions import Conditions

Headers = CIMultiDictProxy[str] | CIMultiDict[str]

WRITE_METHODS = ("PUT", "POST", "DELETE", "PATCH")
#: Digests of a body that are checked.
DIGEST_FIELDS = ("content-digest", "repr-digest", "digest", "content-md5", "x-content-blake3")
#: Digests of a body as S3 has them; they are not checked.
_FOREIGN_DIGESTS = (
    "x-amz-content-sha256", "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1", "x-amz-checksum-sha256",
)  # fmt: skip
#: Announced as trailers they would not be seen.
_ALL_DIGESTS = frozenset({*DIGEST_FIELDS, *_FOREIGN_DIGESTS})

#: Fields of one value. Dates of conditions are not among them: a list of dates is no date, and is ignored.
SINGLE_FIELDS = frozenset({
    "authorization", "content-disposition", "content-length", "content-md5", "content-range", "content-type", "expires",
    "host", "if-range", "origin", "range", "transfer-encoding", "x-content-blake3", "x-dynafs-context",
})  # fmt: skip
_METHOD_OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_WRITE_CONDITIONS = frozenset({"if-match", "if-none-match", "if-unmodified-since"})
_CONDITIONS = _WRITE_CONDITIONS | {"if-modified-since", "if-range", "range"}
#: A body in S3's own framing (which X-Amz-Content-Sha256 may be the only one to name), and a copy whose body is empty:
#: stored as they are they would be other files.
_FOREIGN = frozenset({"x-amz-decoded-content-length", "x-amz-copy-source", "x-amz-trailer", *_FOREIGN_DIGESTS})
_REFUSED_ON_WRITES = _WRITE_CONDITIONS | _FOREIGN | {"content-range"}


def joined(headers: Headers, name: str) -> str | None:
    """Return a list field joined over all its lines (RFC 9110 section 5.3), None when it is absent."""
    lines = headers.getall(name, None)
    return None if lines is None else lines[0] if len(lines) == 1 else ", ".join(lines)


def items_of(headers: Headers, name: str) -> list[str]:
    """Return the elements of a list field without the empty ones (RFC 9110 section 5.6.1)."""
    return [item for part in (joined(headers, name) or "").split(",") if (item := part.strip(" \t"))]


def conditions_of(headers: Headers) -> Conditions | None:
    """Return what a request says of when and what to send, None when it says nothing."""
    if _CONDITIONS.isdisjoint([name.lower() for name in headers]):
        return None
    return Conditions(
        joined(headers, "If-Match"), joined(headers, "If-Unmodified-Since"), joined(headers, "If-None-Match"),
        joined(headers, "If-Modified-Since"), headers.get("If-Range"), headers.get("Range"),
    )  # fmt: skip


def check_fields(request: web.BaseRequest) -> None:
    """Raise RequestInvalid for what is malformed, NotSupported for what would change the meaning of the request.

    Writes with conditions: they would not be atomic, and half a promise is worse than none. Content-Range on a write:
    RFC 9110 section 14.5. Transfer codings but chunked, or any in HTTP/1.0, raise BodyIncomplete or NotSupported: RFC
    9112 section 6.1.
    """
    headers = request.headers
    names = {name.lower() for name in headers}
    if len(names) != len(headers):
        check_single(headers)
    if not names.isdisjoint(_METHOD_OVERRIDES):
        _refuse(names & _METHOD_OVERRIDES, "send the method itself; it is not overridden")
    if "transfer-encoding" in names:
        _check_transfer_coding(headers["Transfer-Encoding"], request.version)
    if request.method in WRITE_METHODS:
        if not names.isdisjoint(_REFUSED_ON_WRITES):
            check_write_fields(headers)
        if "trailer" in names and (late := [n for n in items_of(headers, "Trailer") if n.lower() in _ALL_DIGESTS]):
            raise NotSupported(
                f"{late[0]} is not checked as a trailer; send Repr-Digest in the header", field="Trailer"
            )


def check_single(headers: Headers) -> None:
    """Raise RequestInvalid when a field of one value comes twice. For the headers of a request or a form's part."""
    for name in headers:
        if name.lower() in SINGLE_FIELDS and len(headers.getall(name)) > 1:
            raise RequestInvalid(_title(name), "given twice; it has one value")


def check_write_fields(headers: Headers) -> None:
    """Raise RequestInvalid or NotSupported for fields that would make a write another one than is carried out. For the
    headers of a request or a form's part."""
    names = {name.lower() for name in headers}
    if "content-range" in names:
        raise RequestInvalid("Content-Range", "a part of a file cannot be written; send the whole file without it")
    if not names.isdisjoint(_WRITE_CONDITIONS):
        _refuse(names & _WRITE_CONDITIONS, "on writes it is not supported: it could not be kept atomic")
    if not names.isdisjoint(_FOREIGN):
        _refuse(names & _FOREIGN, "this is no S3 gateway; send the plain contents of the file")


def check_plain_body(headers: Headers) -> None:
    """Raise NotSupported for a body that is no file and needs more than to be read: no coding is undone, no digest
    checked."""
    if any(coding.lower() != "identity" for coding in items_of(headers, "Content-Encoding")):
        raise NotSupported("Content-Encoding: no coding is undone; send the body as it is", field="Content-Encoding")
    names = {name.lower() for name in headers}
    if not names.isdisjoint(_ALL_DIGESTS):
        _refuse(names & _ALL_DIGESTS, "it is checked for files only; leave it out")


def _check_transfer_coding(value: str, version: HttpVersion) -> None:
    if value.lower() != "chunked":
        raise NotSupported("Transfer-Encoding: only chunked is understood", field="Transfer-Encoding")
    if version < HttpVersion11:
        # Where the body ends is uncertain: a proxy in between may have found its end by other rules.
        raise BodyIncomplete("HTTP/1.0 has no Transfer-Encoding", field="Transfer-Encoding")


def _refuse(names: set[str], why: str) -> NoReturn:
    field = _title(min(names))
    raise NotSupported(f"{field}: {why}", field=field)


def _title(name: str) -> str:
    """Return a field's name as it is usually written."""
    return name.title().replace("Md5", "MD5").replace("Http-", "HTTP-")
