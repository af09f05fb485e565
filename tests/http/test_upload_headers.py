"""What the headers of an upload say: kept and given back, honoured, or refused, never dropped in silence."""

import base64
import hashlib
import json
import unicodedata
import zlib

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from raw_http import Field, ask

from dynafs.causality import Stamp
from dynafs.causality.stamp import hybrid_time
from dynafs.client import DynafsClient
from dynafs.errors import NotSupported, RequestInvalid
from dynafs.files import Version, VersionKind
from dynafs.http.fields import check_single, check_write_fields
from dynafs.http.rendering import version_headers
from dynafs.http.upload_headers import metadata_of

PATH = "/v1/files/demo/f"
KEPT = {
    "Content-Encoding": "gzip",
    "Content-Language": "de, en",
    "Content-Disposition": "attachment; filename=\"a.html\"; filename*=UTF-8''%e2%82%ac.html",
    "Cache-Control": "public, max-age=60",
    "Expires": "Thu, 01 Dec 2033 16:00:00 GMT",
}
SHA = base64.b64encode(hashlib.sha256(b"body").digest()).decode()
MD5 = base64.b64encode(hashlib.md5(b"body").digest()).decode()
WRONG = base64.b64encode(bytes(32)).decode()


async def is_stored(cluster, path: str = PATH) -> bool:
    return (await ask(cluster.http_ports["n1"], "HEAD", path)).status == 200


async def test_header_fields_of_a_file_come_back(cluster, session: ClientSession) -> None:
    """With GET, HEAD and ranges, byte for byte, and apart from metadata in JSON; what guards browsers is ours."""
    contents = zlib.compress(b"<b>hello</b>" * 9)
    sent = {
        **KEPT, "X-Meta-Content-Encoding": "mine", "Content-Security-Policy": "none", "X-Content-Type-Options": "no",
        "X-Dynafs-Version": "1", "ETag": '"mine"', "Last-Modified": "never", "X-Request-Id": "mine",
    }  # fmt: skip
    async with session.put(cluster.file_url("demo/f"), data=contents, headers=sent) as response:
        assert response.status == 201
        etag = response.headers["ETag"]
    for method, more, status in (("GET", {}, 200), ("HEAD", {}, 200), ("GET", {"Range": "bytes=1-2"}, 206)):
        async with session.request(method, cluster.file_url("demo/f", "n2"), headers=more) as response:
            assert response.status == status
            assert {name: response.headers[name] for name in KEPT} == KEPT
            assert response.headers["X-Meta-Content-Encoding"] == "mine"
            assert response.headers["ETag"] == etag != '"mine"'
            assert response.headers.getall("X-Content-Type-Options") == ["nosniff"]
            assert "sandbox" in response.headers["Content-Security-Policy"]
            assert response.headers.get("X-Request-Id") != "mine"
            body = await response.read()
            assert body == {"GET200": contents, "HEAD200": b"", "GET206": contents[1:3]}[f"{method}{status}"]
    async with session.get(cluster.file_url("demo/f"), headers={"Range": "bytes=0-1,4-5"}) as response:
        body = await response.read()
        assert "Content-Encoding" not in response.headers
        assert response.headers["Cache-Control"] == KEPT["Cache-Control"]
        assert body.count(b"Content-Encoding: gzip\r\n") == 2
        assert len(body) == response.content_length
    async with session.get(f"{cluster.url()}/v1/metadata/demo/f") as response:
        found = await response.json()
    async with session.get(cluster.file_url("demo")) as response:
        (row,) = (await response.json())["files"]
    for shown in (found, row):
        assert shown["headers"] == KEPT
        assert shown["metadata"] == {"content-encoding": "mine"}


async def test_client_sends_header_fields_and_gets_stored_bytes(cluster) -> None:
    """The Python client neither compresses nor expands what says that it is compressed."""
    async with DynafsClient(cluster.url()) as client:
        await client.put("demo", "f", b"not gzip", headers={"Content-Encoding": "gzip"}, metadata={"a": "b"})
        assert await client.get("demo", "f") == b"not gzip"
        found = await client.stat("demo", "f")
    assert (found["headers"], found["metadata"]) == ({"Content-Encoding": "gzip"}, {"a": "b"})


TEXTS = (
    "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "co\u00adop", "\u3000wide\u3000", "\u00a0", "\ue000", "a\u202eb", "\U000e0067", "plain",
)  # fmt: skip


async def test_metadata_is_any_printable_text(cluster) -> None:
    """Joiners, soft hyphens and other format characters are part of words and emoji: all bytes come back."""
    port = cluster.http_ports["n1"]
    for text in TEXTS:
        fields = [("X-Meta-Text", text), ("Content-Disposition", f'inline; filename="{text}"')]
        answer = await ask(port, "PUT", PATH, *fields, body=b"x")
        assert answer.status == 201, ascii(text)
        for method in ("GET", "HEAD"):
            answer = await ask(port, method, PATH)
            assert answer.values("X-Meta-Text") == [text.encode()]
            assert answer.values("Content-Disposition") == [f'inline; filename="{text}"'.encode()]
        found = json.loads((await ask(port, "GET", "/v1/metadata/demo/f")).body)
        assert found["metadata"] == {"text": text}


@given(st.text(st.characters(), min_size=1).filter(lambda text: text == text.strip(" \t")))
def test_metadata_takes_what_is_no_control_character(text: str) -> None:
    """Every other character of Unicode is kept as it is; what is refused is named."""
    headers = CIMultiDict({"X-Meta-A": text, "Cache-Control": text})
    if any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in text):
        with pytest.raises(RequestInvalid) as caught:
            metadata_of(headers)
        assert caught.value.evidence["field"] == "X-Meta-a"
    else:
        assert metadata_of(headers) == {"a": text, "Cache-Control": text}


async def test_values_that_cannot_be_kept_are_refused(cluster) -> None:
    """Control characters, broken UTF-8 and too much of anything: 400 that names the field, and no file."""
    port = cluster.http_ports["n1"]
    cases: list[tuple[list[Field], str]] = [
        ([("X-Meta-A", b"\xff")], "X-Meta-a"),
        ([("X-Meta-A", b"\xed\xa0\x80")], "X-Meta-a"),
        ([("X-Meta-A", "a\u0085b")], "X-Meta-a"),
        ([("X-Meta-A", "a\u2028b")], "X-Meta-a"),
        ([("X-Meta-A", "a\tb")], "X-Meta-a"),
        ([("X-Meta-", "nameless")], "X-Meta-"),
        ([("X-Meta-A", "a" * 4096)], "X-Meta-*"),
        ([("X-Meta-A", "a" * 3000), ("Content-Disposition", "a" * 1100)], "X-Meta-*"),
        ([("Content-Disposition", b"\xff")], "Content-Disposition"),
        ([("Content-Disposition", "inline"), ("Content-Disposition", "attachment")], "Content-Disposition"),
        ([("Expires", "0"), ("Expires", "1")], "Expires"),
        ([("Content-Encoding", "gz ip")], "Content-Encoding"),
        ([("Content-Encoding", b"g\xff")], "Content-Encoding"),
        ([("Content-Encoding", "gzip;q=1")], "Content-Encoding"),
        ([("Content-Encoding", ",")], "Content-Encoding"),
        ([("Content-Type", b"text/\xff")], "Content-Type"),
        ([("Content-Type", "a" * 257)], "Content-Type"),
        ([("Content-MD5", b"\xff")], "Content-MD5"),
        ([("Repr-Digest", b"\xff")], "Repr-Digest"),
        ([("X-Dynafs-Context", b"\xff")], "X-Dynafs-Context"),
        ([("X-Dynafs-Context", "a"), ("X-Dynafs-Context", "b")], "X-Dynafs-Context"),
    ]
    for fields, field in cases:
        answer = await ask(port, "PUT", PATH, *fields, body=b"x")
        assert answer.status == 400, fields
        assert json.loads(answer.body)["error"]["field"] == field
    assert not await is_stored(cluster)


async def test_lines_of_one_name_are_one_list(cluster) -> None:
    """None of them is lost; and a media type may have tabs where it may have spaces."""
    port = cluster.http_ports["n1"]
    fields = [
        ("X-Meta-A", "1"), ("x-meta-a", "2"), ("Content-Encoding", "gzip"), ("Content-Encoding", "br"),
        ("Content-Language", "de"), ("Content-Language", "en"), ("Cache-Control", "public"), ("Cache-Control", ""),
        ("Cache-Control", "max-age=1"), ("Content-Type", "text/plain;\tcharset=utf-8"),
    ]  # fmt: skip
    assert (await ask(port, "PUT", PATH, *fields, body=b"x")).status == 201
    answer = await ask(port, "GET", PATH)
    assert answer.value("X-Meta-a") == "1, 2"
    assert answer.value("Content-Encoding") == "gzip, br"
    assert answer.value("Content-Language") == "de, en"
    assert answer.value("Cache-Control") == "public, max-age=1"
    assert answer.value("Content-Type") == "text/plain;\tcharset=utf-8"


SINGLE = ("Authorization", "Content-Type", "Content-MD5", "X-Content-Blake3", "Range", "If-Range", "Origin", "Expires")


async def test_fields_of_one_value_come_once(cluster) -> None:
    """No rule says which of two counts, even when they are equal."""
    for name in SINGLE:
        value = {"Content-MD5": MD5, "Origin": "http://127.0.0.1"}.get(name, "a")
        for method, path in (("PUT", PATH), ("GET", PATH), ("GET", "/v1/ring"), ("POST", "/v1/ring/clear")):
            answer = await ask(cluster.http_ports["n1"], method, path, (name, value), (name.lower(), value))
            assert answer.status == 400, (name, method)
    assert not await is_stored(cluster)


async def test_part_of_a_file_is_not_taken_for_the_file(cluster) -> None:
    """A resumed upload sends only its tail: 400, and the file stays whole (RFC 9110 section 14.5)."""
    port = cluster.http_ports["n1"]
    assert (await ask(port, "PUT", PATH, body=b"0123456789")).status == 201
    form = b'--b\r\nContent-Disposition: form-data; name="x"; filename="f"\r\n\r\n89\r\n--b--\r\n'
    for method, path, body, more in (
        ("PUT", PATH, b"89", []),
        ("POST", "/v1/files/demo", form, [("Content-Type", "multipart/form-data; boundary=b")]),
        ("DELETE", PATH, None, []),
    ):
        answer = await ask(port, method, path, ("Content-Range", "bytes 8-9/10"), *more, body=body)
        assert answer.status == 400
        assert json.loads(answer.body)["error"]["field"] == "Content-Range"
    assert (await ask(port, "GET", PATH)).body == b"0123456789"
    # Range means nothing on a PUT (RFC 9110 section 14.2).
    assert (await ask(port, "PUT", PATH, ("Range", "bytes=0-1"), body=b"whole")).status == 201
    assert (await ask(port, "GET", PATH)).body == b"whole"


CHUNKED = b"4\r\nbody\r\n0\r\n\r\n"


BODIES: list[tuple[list[Field], bytes, tuple[int, ...]]] = [
    ([("Transfer-Encoding", "chunked")], CHUNKED, (201,)),
    ([("Transfer-Encoding", "Chunked")], CHUNKED, (201,)),
    ([("Transfer-Encoding", "gzip, chunked")], CHUNKED, (501,)),
    ([("Transfer-Encoding", "identity, chunked")], CHUNKED, (501,)),
    ([("Transfer-Encoding", "chunked, chunked")], CHUNKED, (400, 501)),
    ([("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")], CHUNKED, (400, 501)),
    ([("Transfer-Encoding", "gzip")], CHUNKED, (400, 501)),
    ([("Transfer-Encoding", "identity")], CHUNKED, (400, 501)),
    ([("Transfer-Encoding", "chunked, gzip")], CHUNKED, (400, 501)),
    ([("Content-Encoding", "aws-chunked")], b"4;chunk-signature=0\r\nbody\r\n", (501,)),
    ([("Content-Encoding", "gzip"), ("Content-Encoding", "AWS-chunked")], b"4;chunk-signature=0", (501,)),
    ([("X-Amz-Decoded-Content-Length", "4")], b"4;chunk-signature=0\r\nbody\r\n", (501,)),
    ([("X-Amz-Copy-Source", "/demo/other")], b"", (501,)),
    ([("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")], b"4;chunk-signature=0\r\nbody\r\n", (501,)),
    ([("X-Amz-Content-Sha256", "0" * 64)], b"body", (501,)),
    ([("X-Amz-Checksum-Crc32", "AAAAAA==")], b"body", (501,)),
    ([("X-Amz-Trailer", "x-amz-checksum-crc32")], b"body", (501,)),
    ([("X-Amz-Meta-Colour", "red")], b"body", (501,)),
    ([("X-Amz-Date", "20260101T000000Z"), ("X-Amz-Cf-Id", "a")], b"body", (201,)),
    ([("Trailer", "x-amz-checksum-crc32c"), ("Transfer-Encoding", "chunked")], CHUNKED, (501,)),
    ([("Content-Encoding", "gzip,, br,")], b"body", (201,)),
    ([("X-HTTP-Method-Override", "DELETE")], b"body", (501,)),
    ([("X-Http-Method", "PATCH")], b"body", (501,)),
    ([("Trailer", "Repr-Digest"), ("Transfer-Encoding", "chunked")], CHUNKED, (501,)),
    ([("Trailer", "Server-Timing"), ("Transfer-Encoding", "chunked")], CHUNKED, (201,)),
]


async def test_body_that_would_mean_something_else_is_refused(cluster) -> None:
    """Codings that are not undone, framings of other protocols, other methods: nothing is stored under the name."""
    for number, (fields, body, statuses) in enumerate(BODIES):
        path = f"/v1/files/demo/f{number}"
        answer = await ask(cluster.http_ports["n1"], "PUT", path, *fields, body=body)
        assert answer.status in statuses, fields
        assert await is_stored(cluster, path) == (statuses == (201,))
        if statuses == (201,):
            assert (await ask(cluster.http_ports["n1"], "GET", path)).body == b"body"


async def test_old_http_has_no_transfer_codings(cluster) -> None:
    """Its framing is uncertain: 400, the connection ends, and nothing is stored (RFC 9112 section 6.1)."""
    fields = [("Transfer-Encoding", "chunked"), ("Connection", "keep-alive")]
    answer = await ask(cluster.http_ports["n1"], "PUT", PATH, *fields, body=CHUNKED, version="1.0")
    assert (answer.status, answer.value("Connection")) == (400, None)
    assert not await is_stored(cluster)
    assert (await ask(cluster.http_ports["n1"], "PUT", PATH, body=b"body", version="1.0")).status == 201


DIGESTS: list[tuple[list[Field], int]] = [
    ([("Content-Digest", f"sha-256=:{SHA}:")], 201),
    ([("Content-Digest", f"sha-256=:{WRONG}:")], 422),
    ([("Content-Digest", "nonsense")], 400),
    ([("Repr-Digest", f"sha-512=:AAAA:, sha-256=:{SHA}:")], 201),
    ([("Repr-Digest", f"sha-512=:AAAA:, sha-256=:{WRONG}:")], 422),
    ([("Repr-Digest", "sha-512=:AAAA:"), ("Repr-Digest", f"sha-256=:{WRONG}:")], 422),
    ([("Repr-Digest", f"sha-256=:{SHA}:;a=1,, md5=:{MD5}:")], 201),
    ([("Repr-Digest", "sha-512=:AAAA:")], 501),
    ([("Content-Digest", "sha-512=:AAAA:"), ("Repr-Digest", f"sha-256=:{SHA}:")], 501),
    ([("Digest", f"SHA-256={SHA},unixsum=30637")], 201),
    ([("Digest", f"SHA-256={WRONG}")], 422),
    ([("Digest", "unixsum=30637")], 501),
    ([("Content-MD5", MD5), ("Content-Digest", f"sha-256=:{WRONG}:")], 422),
    ([("Want-Repr-Digest", "sha-512=9")], 201),
]


async def test_digests_of_the_body(cluster) -> None:
    """Every field that says what the body hashes to is checked by what is known of it."""
    for number, (fields, status) in enumerate(DIGESTS):
        path = f"/v1/files/demo/f{number}"
        answer = await ask(cluster.http_ports["n1"], "PUT", path, *fields, body=b"body")
        assert answer.status == status, (fields, answer.body)
        assert await is_stored(cluster, path) == (status == 201)


def test_file_is_never_changed_later_than_now() -> None:
    """A version that a node with a fast clock stamped has the date of the answer (RFC 9110 section 8.8.2.1)."""
    ahead = Version(Stamp(hybrid_time(2_000_000_000_000), "n1"), VersionKind.FILE)
    assert version_headers(ahead, 1_000_000_000.9)["Last-Modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert version_headers(ahead, 2_000_000_001.0)["Last-Modified"] == "Wed, 18 May 2033 03:33:20 GMT"


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "If-Unmodified-Since", "X-Amz-Copy-Source"])
def test_headers_of_a_form_part_are_checked_like_those_of_a_request(name: str) -> None:
    """Each part is a write of its own."""
    with pytest.raises(NotSupported):
        check_write_fields(CIMultiDict({name: "*"}))
    with pytest.raises(RequestInvalid):
        check_write_fields(CIMultiDict({"Content-Range": "bytes 0-1/2"}))
    with pytest.raises(RequestInvalid):
        check_single(CIMultiDict([("Content-Type", "a"), ("content-type", "a")]))
    check_write_fields(CIMultiDict({"If-Modified-Since": "*", "Range": "bytes=0-1"}))
