"""The client and what answers at its URL: nothing of it is believed unseen."""

import json

import pytest

from dynafs.client import DynafsClient, RemoteFile, connection
from dynafs.errors import (
    AnswerUnexpected,
    ContentMismatch,
    DynafsError,
    NameInvalid,
    RequestInvalid,
    ServerRefused,
    ServerUnreachable,
)
from tests.client.serving import answering, json_answer

WRONG_JSON = [
    b"", b"[]", b"null", b"{}", b"\xff\xfe", b'{"jobs": 1}', b'{"jobs": [1]}', b'{"jobs": [{}], "seen_by": "n1"}',
    b'{"jobs": NaN}', b'{"x": 1e999}', b"[" * 100_000, b'{"x": ' * 5_000, b"<html>", b'{"files": {}, "prefixes": []}',
    b'{"x": ' + b"9" * 10_000 + b"}", b'{"jobs": [], "seen_by": 1, "cursor": 5, "files": [], "prefixes": []}',
]  # fmt: skip
CALLS = {
    "put": lambda client: client.put("b", "x", b"x"),
    "stat": lambda client: client.stat("b", "x"),
    "list": lambda client: _all(client.list("b")),
    "buckets": lambda client: _all(client.buckets()),
    "jobs": lambda client: client.jobs(),
    "census": lambda client: client.census(),
    "explain": lambda client: client.explain("b", "x"),
    "hints": lambda client: client.hints(),
    "ring_status": lambda client: client.ring_status(),
    "ring_plan": lambda client: client.ring_plan(),
    "transfers": lambda client: client.transfers(),
    "locate": lambda client: client.locate("b", "x"),
    "history": lambda client: client.ring_history(),
}


async def _all(rows) -> list:
    return [row async for row in rows]


@pytest.mark.parametrize("name", CALLS)
async def test_wrong_json_is_an_unexpected_answer(name: str) -> None:
    """Whatever the shape, one error says so."""
    status = b"201 Created" if name == "put" else b"200 OK"
    for body in WRONG_JSON:
        async with answering(json_answer(body, status)) as url, DynafsClient(url) as client:
            with pytest.raises(AnswerUnexpected, match="unexpected answer"):
                await CALLS[name](client)


@pytest.mark.parametrize(
    "status", [b"100 Continue", b"200 OK", b"202 Accepted", b"204 No Content", b"206 Partial Content", b"299 Odd",
               b"300 Multiple Choices", b"302 Found", b"304 Not Modified", b"307 Temporary Redirect"],
)  # fmt: skip
async def test_other_statuses_are_no_content(status: bytes) -> None:
    """A redirect is not followed, and what comes with a status that was not asked for is never a file."""
    async with answering(json_answer(b"{}")) as target:
        answer = b"HTTP/1.1 " + status + b"\r\nLocation: " + target.encode() + b"\r\nContent-Length: 2\r\n\r\n{}"
        async with answering(answer) as url, DynafsClient(url, "secret") as client:
            with pytest.raises((AnswerUnexpected, ServerUnreachable)):
                await client.put("b", "x", b"")
            with pytest.raises((AnswerUnexpected, ServerUnreachable)):
                async with client.open("b", "x", start=5):
                    pass
            if status != b"200 OK":
                with pytest.raises((AnswerUnexpected, ServerUnreachable)):
                    await client.get("b", "x")
            if status != b"204 No Content":
                with pytest.raises((AnswerUnexpected, ServerUnreachable)):
                    await client.delete("b", "x")


async def test_token_goes_to_no_other_host() -> None:
    """The server that a redirect names is not asked anything."""
    async with answering(json_answer(b"{}")) as target:
        answer = b"HTTP/1.1 302 Found\r\nLocation: " + target.encode() + b"/v1/jobs\r\nContent-Length: 0\r\n\r\n"
        async with answering(answer) as url, DynafsClient(url, "secret") as client:
            with pytest.raises(AnswerUnexpected, match=f"status 302 to {target}"):
                await client.jobs()


async def test_listings_that_do_not_advance_end() -> None:
    """A cursor that comes back, at once or later; chunks that begin before those that were there."""
    page = {"files": [], "prefixes": [], "buckets": []}
    pages = [json_answer(json.dumps({**page, "cursor": cursor}).encode()) for cursor in ("a", "b", "a")]
    for answers in (pages, pages[:1], [json_answer(json.dumps({**page, "cursor": ""}).encode())]):
        for call in ("list", "buckets"):
            async with answering(*answers) as url, DynafsClient(url) as client:
                with pytest.raises(AnswerUnexpected, match="does not advance"):
                    await CALLS[call](client)
    found = {
        "version": "1", "size_bytes": 1, "etag": "", "content_type": "", "metadata": {}, "siblings": [], "next": 5,
        "is_inline": False, "chunk_count": 10, "record": {}, "chunks": [],
    }  # fmt: skip
    async with answering(json_answer(json.dumps(found).encode())) as url, DynafsClient(url) as client:
        assert (await client.stat("b", "x"))["next"] == 5
        with pytest.raises(AnswerUnexpected, match="do not advance"):
            await client.stat("b", "x", first=5)


async def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON without end is cut, with success and without."""
    monkeypatch.setattr(connection, "JSON_SIZE_BYTES_MAX", 1000)
    monkeypatch.setattr(connection, "ERROR_SIZE_BYTES_MAX", 1000)
    for status in (b"200 OK", b"300 Multiple Choices", b"500 Oops"):
        async with answering(json_answer(b" " * 2000, status)) as url, DynafsClient(url) as client:
            with pytest.raises(AnswerUnexpected, match="more than 1000 bytes"):
                await client.jobs()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"error": 1}', b'{"error": {"code": 1}}', b'{"error": {}}', b"<html>\xff", b"[" * 100_000]
)
async def test_errors_of_other_servers_are_refusals(body: bytes) -> None:
    """With their status, and the beginning of what they say."""
    async with answering(json_answer(body, b"502 Bad Gateway")) as url, DynafsClient(url) as client:
        with pytest.raises(ServerRefused, match="HTTP 502") as caught:
            await client.jobs()
    assert (caught.value.status, caught.value.remote_code) == (502, "unknown")


async def test_evidence_may_have_any_names() -> None:
    """Names of evidence are not arguments of ours."""
    told = {"error": {"code": "c", "message": "m", "self": 1, "status": "x", "args": [1], "é": None}}
    async with (
        answering(json_answer(json.dumps(told).encode(), b"400 Bad Request")) as url,
        DynafsClient(url) as client,
    ):
        with pytest.raises(ServerRefused) as caught:
            await client.jobs()
    assert caught.value.evidence == {"status": 400, "code": "c", "args": [1], "é": None}


async def test_any_bytes_are_an_error_of_the_tree() -> None:
    """No answer ends in anything else than one of our errors."""
    for data in (b"", b"\r\n\r\n", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/9 999 \r\n\r\n",
                 b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"\0" * 100,
                 b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
                 b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"):  # fmt: skip
        async with answering(data) as url, DynafsClient(url) as client:
            for call in (client.jobs, lambda: _all(client.list("b")), lambda: client.put("b", "x", b"x")):
                with pytest.raises(DynafsError):
                    await call()


async def test_whole_files_are_compared_with_their_etag(cluster) -> None:
    """Small and large ones that arrive are right; a byte that was changed on the way is an error."""
    async with DynafsClient(cluster.url()) as client:
        for size in (0, 1, 70_000, 2_500_000):
            contents = bytes(size)
            await client.put("demo", f"f{size}", contents)
            assert await client.get("demo", f"f{size}") == contents
            async with client.open("demo", f"f{size}") as file:
                etag = file.etag
            head = (
                b'HTTP/1.1 200 OK\r\nX-Dynafs-Version: 1-n1-0\r\nX-Dynafs-Chunk-Size: 1048576\r\nETag: "%s"\r\n'
                b"Content-Length: %d\r\n\r\n"
            )
            for change in (b"", b"x"):
                body = change + contents[len(change) :]
                answer = head % (etag.encode(), len(body)) + body
                async with answering(answer) as url, DynafsClient(url) as other:
                    if body == contents:
                        assert await other.get("demo", "x") == contents
                    else:
                        with pytest.raises(ContentMismatch):
                            await other.get("demo", "x")


@pytest.mark.parametrize("head", [b"Content-Type: text/html\r\n", b'ETag: "5f3a-1b2c"\r\n'])
async def test_a_page_of_another_server_is_no_file(head: bytes) -> None:
    """A 200 without the version that every node sends is an error before a byte of it is used."""
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 6\r\n\r\n<html>"
    async with answering(answer) as url, DynafsClient(url) as client:
        with pytest.raises(AnswerUnexpected, match="is it a dynafs node"):
            await client.get("b", "x")


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\xff\n" * 100, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000]
)
async def test_what_is_not_http_is_named_in_one_short_line(answer: bytes) -> None:
    """And not by an excerpt of what arrived."""
    async with answering(answer) as url, DynafsClient(url) as client:
        with pytest.raises(AnswerUnexpected) as caught:
            await client.jobs()
    assert caught.value.message == f"{url} does not speak HTTP; is it a dynafs node?"


async def test_why_nothing_answers_is_in_words(cluster) -> None:
    """Not in those of a library: refused, closed, no TLS, broken off."""
    async with answering(b"") as url, DynafsClient(url) as client:
        with pytest.raises(ServerUnreachable, match="the connection closed before an answer"):
            await client.jobs()
    async with DynafsClient(url) as client:
        with pytest.raises(ServerUnreachable) as caught:
            await client.jobs()
    assert caught.value.message == f"no answer from {url}: connection refused"
    async with DynafsClient(cluster.url().replace("http", "https", 1)) as client:
        with pytest.raises(ServerUnreachable, match="does not speak TLS"):
            await client.jobs()
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}") as url, DynafsClient(url) as client:
        with pytest.raises(ServerUnreachable, match="broke off: the connection closed before the end"):
            await client.jobs()


async def test_large_files_of_nodes_that_do_not_tell_their_chunks_are_taken() -> None:
    """An earlier version sends no size of chunks; its large files cannot be compared."""
    answer = (
        b'HTTP/1.1 200 OK\r\nX-Dynafs-Version: 1-n1-0\r\nETag: "'
        + b"0" * 32
        + b'"\r\nContent-Length: 70000\r\n\r\n'
        + bytes(70000)
    )
    async with answering(answer) as url, DynafsClient(url) as client:
        assert await client.get("b", "x") == bytes(70000)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x",
        "http://",
        "http://h:99999",
        "http://u:p@h",
        "http://h/?q",
        "http://h/?",
        "http://h#",
        "http://h/a b",
        "http://h ",
        "http://h\n",
    ],
)
def test_urls_are_checked(url: str) -> None:
    """What is no URL of a node is named before anything is sent."""
    with pytest.raises(RequestInvalid, match="http://HOST:PORT"):
        DynafsClient(url)


async def test_names_and_headers_are_checked(cluster) -> None:
    """Lone surrogates, newlines in metadata and empty ranges never reach the network."""
    async with DynafsClient(cluster.url()) as client:
        with pytest.raises(NameInvalid):
            await client.get("demo", "\ud800")
        with pytest.raises(NameInvalid):
            await _all(client.list("demo", "\ud800"))
        for bad in (
            {"metadata": {"a": "x\ny"}},
            {"metadata": {"a\n": "x"}},
            {"content_type": "a\r\nb"},
            {"seen": "\n"},
        ):
            with pytest.raises(RequestInvalid):
                await client.put("demo", "x", b"", **bad)
        for start, stop in ((5, 5), (-1, None), (0, 0), (3, 2)):
            with pytest.raises(RequestInvalid):
                async with client.open("demo", "x", start=start, stop=stop):
                    pass
        await client.put("demo", "x", b"0123456789")
        async with client.open("demo", "x", start=8) as file:
            assert isinstance(file, RemoteFile)
            assert [piece async for piece in file.pieces()] == [b"89"]
