"""What a request asks: paths, query parameters, and body, checked where they enter."""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

from aiohttp import ClientConnectionError, web
from aiohttp.http_exceptions import HttpProcessingError

from dynafs.config import HttpSettings
from dynafs.errors import BodyIncomplete, NameInvalid, RequestInvalid
from dynafs.files import FileName
from dynafs.http.fields import check_plain_body
from dynafs.http.pace import Pace
from dynafs.http.request import ClientRequest
from dynafs.wire.context_token import ContextTokens

QUERY_FIELDS_MAX = 32
#: What a reader of a file has seen of it, for its next write.
CONTEXT_HEADER = "X-Dynafs-Context"


def decoded(raw: str, field: str) -> str:
    """Return a percent-decoded path segment; "%2F" becomes "/" like any other character."""
    try:
        return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise NameInvalid(field, "the name is not valid UTF-8") from None


def file_name(rest: str) -> FileName:
    """Return the file that BUCKET/PATH, still percent-encoded, names."""
    bucket, _, path = rest.partition("/")
    return FileName.parse(decoded(bucket, "bucket"), decoded(path, "path"))


def query_of(raw: str, allowed: tuple[str, ...]) -> dict[str, str]:
    """Return the query parameters; raise RequestInvalid for unknown, repeated or undecodable ones."""
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
    except (ValueError, UnicodeError):
        raise RequestInvalid("query", "the query string cannot be decoded") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise RequestInvalid(name, f"unknown query parameter; known here: {', '.join(allowed) or 'none'}")
        if name in found:
            raise RequestInvalid(name, "given twice")
        found[name] = value
    return found


def whole_number(query: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """Return a query parameter as a number from low to high, None when it is absent."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19 and low <= int(text) <= high):
        raise RequestInvalid(name, f"use a whole number from {low} to {high}")
    return int(text)


class AskedQuorum(NamedTuple):
    """What a request asks of a quorum; None leaves it to the bucket."""

    r: int | None = None
    w: int | None = None
    consistency: str | None = None


def quorum_of(query: Mapping[str, str], n: int) -> AskedQuorum:
    """Return what a request asks of its quorum."""
    level = query.get("consistency")
    if level not in (None, "strong", "available"):
        raise RequestInvalid("consistency", "use strong or available")
    return AskedQuorum(whole_number(query, "r", 1, n), whole_number(query, "w", 1, n), level)


def context_of(headers: Mapping[str, str], tokens: ContextTokens, name: FileName) -> dict[str, int] | None:
    """Return what a client had seen of a file, by the X-Dynafs-Context that it got with the file; None without one.

    Raises RequestInvalid unless this cluster issued it for this file.
    """
    text = headers.get(CONTEXT_HEADER)
    if text is None:
        return None
    seen = tokens.read(name.key, text)
    if seen is None or sum(field.lower() == CONTEXT_HEADER.lower() for field, _ in headers.items()) > 1:
        raise RequestInvalid(CONTEXT_HEADER, "use the value that came with this file, unchanged; read the file again")
    return seen


async def invite_body(request: web.BaseRequest) -> None:
    """Have a client that waits for 100 Continue send its body."""
    if isinstance(request, ClientRequest):
        await request.invite_body()


async def body_of(request: web.BaseRequest, pace: Pace) -> AsyncIterator[bytes]:
    """Yield the request's body in pieces. Raises BodyIncomplete when it breaks off, stalls or is malformed,
    BodyTooSlow."""
    content = request.content
    await invite_body(request)
    try:
        while not content.at_eof():
            if content.total_bytes and (piece := content.read_nowait(-1)):
                if pace.is_behind:
                    pace.move(len(piece))
                yield piece
                continue
            piece = await pace.receive(content.readany())
            if piece:
                yield piece
    except (ClientConnectionError, HttpProcessingError, web.RequestPayloadError, ConnectionError) as error:
        raise BodyIncomplete(f"the body broke off: {error}") from None
    except RuntimeError:
        # This is what aiohttp raises for reading from a connection that is gone.
        if request.transport is not None:
            raise
        raise BodyIncomplete("the client closed the connection") from None


async def small_body(request: web.BaseRequest, size_bytes_max: int, settings: HttpSettings) -> bytes:
    """Return the whole body of a request whose body is small by nature, and no file. Raises NotSupported for a coded
    one, or one with a digest, besides what `body_of` raises."""
    check_plain_body(request.headers)
    whole = bytearray()
    async for piece in body_of(request, Pace(request.remote or "", settings)):
        whole += piece
        if len(whole) > size_bytes_max:
            raise RequestInvalid("body", f"at most {size_bytes_max} bytes here")
    return bytes(whole)
