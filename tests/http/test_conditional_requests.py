"""Conditional requests and ranges on a real node: files, versions that stand side by side, chunks."""

import asyncio
import os
import time
from email.utils import formatdate, parsedate_to_datetime
from itertools import product

import pytest
from raw_http import Field, ask

MIB = 1 << 20
PATH = "/v1/files/demo/f"
DATES = {"past": formatdate(0, usegmt=True), "future": formatdate(4_000_000_000, usegmt=True)}


async def put(cluster, contents: bytes, *fields: Field, path: str = PATH):
    answer = await ask(cluster.http_ports["n1"], "PUT", path, *fields, body=contents)
    assert answer.status == 201, answer.body
    return answer


@pytest.mark.parametrize("size", [10, MIB + 5])
async def test_conditions_hold_for_get_and_head(cluster, size: int) -> None:
    """412 and 304 come without a body, in the order of RFC 9110, whatever the size of the file."""
    port, contents = cluster.http_ports["n2"], os.urandom(size)
    etag = (await put(cluster, contents, ("Cache-Control", "max-age=9"), ("Content-Encoding", "x-mine"))).value("ETag")
    cases: list[tuple[list[Field], int]] = [
        ([("If-Match", '"nope"')], 412),
        ([("If-Match", '"nope"'), ("If-Match", etag)], 200),
        ([("If-Match", "*")], 200),
        ([("If-Match", f"W/{etag}")], 412),
        ([("If-Unmodified-Since", DATES["past"])], 412),
        ([("If-Unmodified-Since", DATES["future"])], 200),
        ([("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 +0000")], 200),
        ([("If-Unmodified-Since", DATES["past"]), ("If-Unmodified-Since", DATES["past"])], 200),
        ([("If-None-Match", etag)], 304),
        ([("If-None-Match", '"nope"'), ("If-None-Match", f"W/{etag}")], 304),
        ([("If-None-Match", '"nope"'), ("If-Modified-Since", DATES["future"])], 200),
        ([("If-Modified-Since", DATES["future"])], 304),
        ([("If-Modified-Since", DATES["past"])], 200),
        ([("If-Match", '"nope"'), ("If-None-Match", etag)], 412),
        ([("If-None-Match", b'"\xff"')], 200),
        ([("If-Match", b'"\xff"')], 412),
    ]
    for fields, status in cases:
        for method in ("GET", "HEAD"):
            answer = await ask(port, method, PATH, *fields)
            assert answer.status == status, (method, fields)
            if method == "HEAD" or status == 304:
                assert answer.body == b""
            elif status == 412:
                assert b"precondition_failed" in answer.body
            else:
                assert answer.body == contents
            if status == 304:
                assert (answer.value("ETag"), answer.value("Cache-Control")) == (etag, "max-age=9")
                assert answer.value("Date")
                assert answer.value("Content-Encoding") is None
    for fields in ([("If-Match", "*")], [("If-None-Match", "*")], [("If-Modified-Since", DATES["future"])]):
        assert (await ask(port, "GET", "/v1/files/demo/none", *fields)).status == 404


async def test_range_is_for_get_and_after_the_conditions(cluster) -> None:
    """HEAD describes the whole file; a failed condition comes first, and If-Range must name this very version."""
    port = cluster.http_ports["n1"]
    etag = (await put(cluster, b"0123456789")).value("ETag")
    for text in ("bytes=100-", "bytes=2-3"):
        head = await ask(port, "HEAD", PATH, ("Range", text))
        assert (head.status, head.value("Content-Length"), head.value("Content-Range")) == (200, "10", None)
    outside, part = ("Range", "bytes=100-"), ("Range", "Bytes=2-3")
    cases: list[tuple[list[Field], int, bytes]] = [
        ([part], 206, b"23"),
        ([("Range", "bytes=0-1,,1-2")], 206, b"012"),
        ([outside, ("If-Match", '"nope"')], 412, b""),
        ([outside, ("If-None-Match", etag)], 304, b""),
        ([outside, ("If-Match", etag)], 416, b""),
        ([part, ("If-Match", etag), ("If-Range", etag)], 206, b"23"),
        ([part, ("If-Range", '"nope"')], 200, b"0123456789"),
        ([part, ("If-Range", f"W/{etag}")], 200, b"0123456789"),
        ([outside, ("If-Range", '"nope"')], 200, b"0123456789"),
        ([part, ("If-Range", "*")], 200, b"0123456789"),
        ([("If-Range", '"nope"')], 200, b"0123456789"),
        ([("Range", "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 34, 2)))], 200, b"0123456789"),
        ([part, part], 400, b""),
        ([part, ("If-Range", etag), ("If-Range", etag)], 400, b""),
    ]
    for fields, status, body in cases:
        answer = await ask(port, "GET", PATH, *fields)
        assert answer.status == status, fields
        if status in (200, 206):
            assert answer.body == body, fields
    await put(cluster, b"")
    assert (await ask(port, "GET", PATH, ("Range", "bytes=-5"))).status == 200
    assert (await ask(port, "GET", PATH, ("Range", "bytes=0-"))).status == 416


async def test_date_names_a_version_once_its_second_is_over(cluster) -> None:
    """Within the second another version may come under the same date; its bytes must not be joined to the first's."""
    port = cluster.http_ports["n1"]
    while True:
        started_s = int(time.time())
        modified = None
        await put(cluster, b"0123456789")
        answer = await ask(port, "GET", PATH, ("Range", "bytes=2-3"))
        modified = answer.value("Last-Modified")
        same = await ask(port, "GET", PATH, ("Range", "bytes=2-3"), ("If-Range", modified))
        if int(time.time()) == started_s:
            break
    assert same.status == 200
    while time.time() < parsedate_to_datetime(modified).timestamp() + 1:
        await asyncio.sleep(0.05)
    assert (await ask(port, "GET", PATH, ("Range", "bytes=2-3"), ("If-Range", modified))).status == 206
    local = modified.replace("GMT", "+0000")
    assert (await ask(port, "GET", PATH, ("Range", "bytes=2-3"), ("If-Range", local))).status == 200


async def test_conditions_of_siblings_and_of_a_version(cluster, session) -> None:
    """A list of versions has no validator and is always sent; each version by itself is conditional like a file."""
    port, path = cluster.http_ports["n1"], "/v1/files/both/f"
    policy = {"consistency": "available", "conflict": "keep-both"}
    async with session.put(f"{cluster.url()}/v1/buckets/both", json=policy) as response:
        assert response.status == 201
    etags = [(await put(cluster, contents, path=path)).value("ETag") for contents in (b"one", b"three")]
    for fields in ([("If-None-Match", etags[0])], [("If-Match", '"nope"')], [("Range", "bytes=0-0")]):
        for method in ("GET", "HEAD"):
            assert (await ask(port, method, path, *fields)).status == 300
    async with session.get(cluster.file_url("both/f")) as response:
        rows = (await response.json())["versions"]
    for row in rows:
        etag = f'"{row["etag"]}"'
        cases = [(("If-None-Match", etag), 304), (("If-Match", '"nope"'), 412), (("Range", "bytes=1-1"), 206)]
        for field, status in cases:
            answer = await ask(port, "GET", row["url"], field)
            assert answer.status == status
            assert status == 412 or answer.value("X-Dynafs-Context")


async def test_chunks_are_conditional_and_have_ranges(cluster, session) -> None:
    """A chunk's ETag is its id, however it is written; it has no date."""
    port, contents = cluster.http_ports["n3"], os.urandom(2 * MIB)
    await put(cluster, contents)
    async with session.get(f"{cluster.url()}/v1/metadata/demo/f") as response:
        chunk_id = (await response.json())["chunks"][0]["id"]
    etag, chunk = f'"{chunk_id}"', contents[:MIB]
    cases: list[tuple[list[Field], int, bytes]] = [
        ([], 200, chunk),
        ([("If-Match", etag)], 200, chunk),
        ([("If-Match", '"nope"')], 412, b""),
        ([("If-None-Match", f'"nope", {etag}')], 304, b""),
        ([("If-Modified-Since", DATES["future"])], 200, chunk),
        ([("If-Unmodified-Since", DATES["past"])], 200, chunk),
        ([("Range", "bytes=5-6")], 206, chunk[5:7]),
        ([("Range", "bytes=5-6"), ("If-Range", etag)], 206, chunk[5:7]),
        ([("Range", "bytes=5-6"), ("If-Range", '"nope"')], 200, chunk),
        ([("Range", "bytes=0-1,5-6")], 200, chunk),
        ([("Range", f"bytes={MIB}-")], 416, b""),
    ]
    for fields, status, body in cases:
        for text in (chunk_id, chunk_id.upper()):
            answer = await ask(port, "GET", f"/v1/chunks/{text}", *fields)
            assert answer.status == status, fields
            if status < 400:
                assert (answer.body, answer.value("ETag")) == (body, etag)
    head = await ask(port, "HEAD", f"/v1/chunks/{chunk_id}", ("Range", "bytes=5-6"))
    assert (head.status, head.value("Content-Length")) == (200, str(MIB))


async def test_conditional_writes_are_refused_on_every_route(cluster, session) -> None:
    """They could not be kept; the file stays as it is. If-Modified-Since means nothing on a write."""
    port = cluster.http_ports["n1"]
    await put(cluster, b"first")
    form = b'--b\r\nContent-Disposition: form-data; name="x"; filename="f"\r\n\r\nsecond\r\n--b--\r\n'
    conditions = (("If-Match", "*"), ("If-None-Match", "*"), ("If-Unmodified-Since", DATES["past"]))
    cases: list[tuple[str, str, bytes | None, list[Field]]] = [
        ("PUT", PATH, b"second", []),
        ("DELETE", PATH, None, []),
        ("POST", "/v1/files/demo", form, [("Content-Type", "multipart/form-data; boundary=b")]),
        ("PUT", "/v1/buckets/new", b"{}", []),
        ("POST", "/v1/ring/clear", b"", []),
        ("POST", "/v1/jobs/scrub/start", b"", []),
    ]
    for condition, (method, path, body, more) in product(conditions, cases):
        answer = await ask(port, method, path, condition, *more, body=body)
        assert (answer.status, b"not_supported" in answer.body) == (501, True), (condition, method, path)
    async with session.get(cluster.file_url("demo/f")) as response:
        assert await response.read() == b"first"
    await put(cluster, b"third", ("If-Modified-Since", DATES["future"]))
