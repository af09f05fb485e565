"""Forms: what browsers, curl and strangers send."""

import asyncio
import base64
import hashlib

import pytest
from aiohttp import ClientSession
from blake3 import blake3

from dynafs.errors import RequestInvalid
from dynafs.http.disposition import boundary_of, filename_of
from dynafs.http.form import FIELDS_MAX, OUTSIDE_SIZE_BYTES_MAX, SLICE_SIZE_BYTES, Form

HEADERS = {"Content-Type": "multipart/form-data; boundary=b"}


def part(disposition: str, contents: bytes = b"", *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}", *headers]
    return b"--b\r\n" + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + contents + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


async def post(session: ClientSession, url: str, body: bytes, **headers: str) -> tuple[int, dict]:
    async with session.post(url, data=body, headers={**HEADERS, **headers}) as response:
        return response.status, await response.json()


async def test_file_field_left_empty_is_no_file(cluster, session: ClientSession) -> None:
    """Browsers send every file field; one without a choice has an empty name and no bytes."""
    empty = part('name="f"; filename=""', b"", "Content-Type: application/octet-stream")
    url = cluster.file_url("demo/photos")
    status, told = await post(session, url, form(empty, part('name="f"; filename="a"', b"A"), empty))
    assert (status, [one["path"] for one in told["files"]]) == (201, ["photos/a"])
    for target in (url, cluster.file_url("demo")):
        status, told = await post(session, target, form(empty))
        assert (status, told["error"]["field"]) == (400, "body")
    status, told = await post(session, url, form(part('name="f"; filename=""', b"bytes")))
    assert (status, told["error"]["field"]) == (400, "filename")
    status, told = await post(session, url, form(part('name="f"; filename="dir/"', b"bytes")))
    assert (status, told["error"]["field"]) == (400, "filename")
    async with session.get(cluster.file_url("demo")) as response:
        assert [one["path"] for one in (await response.json())["files"]] == ["photos/a"]


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [("If-Match", '"x"', 501), ("If-None-Match", "*", 501),
     ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 501),
     ("Content-MD5", "AAAA", 400), ("Repr-Digest", "sha-256=:AAAA:", 400), ("X-Content-Blake3", "00", 400),
     ("X-Meta-Color", "blue", 400), ("Content-Range", "bytes 0-0/1", 400), ("X-Dynafs-Context", "gA==", 400),
     ("Content-Encoding", "gzip", 400), ("X-Amz-Meta-Color", "blue", 400)],
)  # fmt: skip
async def test_header_of_one_file_is_refused_on_a_form(cluster, session, field: str, value: str, status: int) -> None:
    """What would be dropped is refused, and nothing is stored or overwritten."""
    url = cluster.file_url("demo/f")
    async with session.put(url, data=b"old"):
        pass
    found, told = await post(
        session, cluster.file_url("demo"), form(part('name="f"; filename="f"', b"new")), **{field: value}
    )
    assert (found, told["error"]["field"]) == (status, field.replace("Color", "*"))
    async with session.get(url) as response:
        assert await response.read() == b"old"


async def test_headers_of_a_part_are_honoured_or_refused(cluster, session: ClientSession) -> None:
    """Digests are checked and metadata is kept for each file; what cannot be done names its field."""
    url = cluster.file_url("demo")
    good = (
        "Content-MD5: " + base64.b64encode(hashlib.md5(b"A").digest()).decode(),
        "X-Content-Blake3: " + blake3(b"A").hexdigest(),
        "X-Meta-Color: blue", "Content-Type: text/plain", "Content-Transfer-Encoding: binary", "Content-Length: 1",
        "Content-Encoding: gzip",
    )  # fmt: skip
    status, _ = await post(session, url, form(part('name="f"; filename="a"', b"A", *good)))
    assert status == 201
    async with session.get(cluster.file_url("demo/a")) as response:
        assert (response.headers["X-Meta-Color"], response.content_type) == ("blue", "text/plain")
        assert response.headers["Content-Encoding"] == "gzip"
        assert "Content-Disposition" not in response.headers
    for header, expected in (
        ("Content-MD5: " + base64.b64encode(bytes(16)).decode(), 422), ("X-Content-Blake3: nonsense", 400),
        ("Content-Transfer-Encoding: base64", 400), ("If-None-Match: *", 501),
        ("Content-Range: bytes 0-0/1", 400), ("X-Dynafs-Context: nonsense", 400),
    ):  # fmt: skip
        body = form(part('name="f"; filename="first"', b"1"), part('name="f"; filename="a"', b"new", header))
        status, told = await post(session, url, body)
        assert (status, told["error"]["field"]) == (expected, header.partition(":")[0])
        assert [one["path"] for one in told["error"]["stored"]] == ["first"]
    async with session.get(cluster.file_url("demo/a")) as response:
        assert await response.read() == b"A"


async def test_form_resolves_siblings_by_the_context_of_its_part(cluster, session: ClientSession) -> None:
    """In a bucket that keeps both, a form adds a version, or replaces those that its part has seen."""
    async with session.put(
        f"{cluster.url()}/v1/buckets/both", json={"consistency": "available", "conflict": "keep-both"}
    ):
        pass
    url = cluster.file_url("both")
    for contents in (b"one", b"two"):
        status, _ = await post(session, url, form(part('name="f"; filename="f"', contents)))
        assert status == 201
    async with session.get(cluster.file_url("both/f")) as response:
        assert response.status == 300
        context = response.headers["X-Dynafs-Context"]
    status, _ = await post(session, url, form(part('name="f"; filename="f"', b"three", f"X-Dynafs-Context: {context}")))
    assert status == 201
    async with session.get(cluster.file_url("both/f")) as response:
        assert (response.status, await response.read()) == (200, b"three")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("multipart/form-data", b""), ("multipart/form-data; boundary=", b""), ("multipart/form-data; boundary=\xff", b""),
     ("multipart/form-data; boundary=" + "x" * 71, b""), ("multipart/mixed; boundary=b", b""), ("text/plain", b""),
     (HEADERS["Content-Type"], part('name="f"; filename="\xff"').decode().encode("latin-1") + b"--b--"),
     (HEADERS["Content-Type"], form(part('name="f"; filename="a'))),
     (HEADERS["Content-Type"], form(part('name="f"; filename="a"; filename="b"'))),
     (HEADERS["Content-Type"], form(part('name="f"; filename="a"', b"", "X-Meta-A: 1", "X-Meta-A: 2"))),
     (HEADERS["Content-Type"], form(part('name="f"; filename="a"', b"", "X: " + "x" * 9000))),
     (HEADERS["Content-Type"], form(part('name="f"; filename="a"', b"", *(f"X{i}: {'x' * 8000}" for i in range(3))))),
     (HEADERS["Content-Type"], form(part('name="f"; filename="a"', b"", *(f"X{i}: x" for i in range(50))))),
     (HEADERS["Content-Type"], form(part('name="f"', b"", "Content-Type: multipart/mixed; boundary=c"))),
     (HEADERS["Content-Type"], form(part('name="f"', bytes(70_000))))],
)  # fmt: skip
async def test_malformed_form_is_a_clear_400(cluster, content_type: str, body: bytes) -> None:
    """Bytes above 127 too. Nothing is stored."""
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.http_ports["n1"])
    head = f"POST /v1/files/demo HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nConnection: close\r\n"
    writer.write(head.encode("latin-1") + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"request_invalid" in answer


async def turns_while(work) -> tuple[object, int]:
    """Run something; return its result or error, and how many turns the event loop had besides."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    result = (await asyncio.gather(work, return_exceptions=True))[0]
    counter.cancel()
    return result, turns


async def files_of(body: bytes, files_max: int = 1000) -> dict[str, bytes]:
    """Parse a form whose body is there at once."""

    async def source():
        yield body

    parsed, found = Form("b", source(), files_max), {}
    while (one := await parsed.next_file()) is not None:
        found[one.filename] = b"".join([piece async for piece in parsed.pieces()])
    return found


async def test_form_gives_the_event_loop_turns() -> None:
    """While a form is parsed whose bytes are all there, others get a turn for every slice of it."""
    contents = bytes(16 * SLICE_SIZE_BYTES)
    result, turns = await turns_while(files_of(form(part('name="f"; filename="a"', contents))))
    assert result == {"a": contents}
    assert turns >= 16


@pytest.mark.parametrize(
    ("body", "told"),
    [(part('name="x"', b"v") * (2 << 20 >> 6), f"{FIELDS_MAX} fields"), (b"\r\n" * (1 << 20), "outside"),
     (form(part('name="f"; filename="a"', b"A")) + b"\r\n" * (1 << 20), "outside"),
     (part('name="f"; filename=""') * 2000, "1000 files"), (part('name="f"; filename="a"') * 2000, "1000 files"),
     (b"--b\r\n" + b"X: y\r\n" * (1 << 18), "header count"), (b"--b\r\n" + b"X" * (1 << 20), "header length")],
    ids=["fields", "preamble", "epilogue", "empty files", "files", "headers", "header"],
)  # fmt: skip
async def test_hostile_form_is_refused_early(body: bytes, told: str) -> None:
    """No more than a few slices are parsed, whatever a form is stuffed with."""
    error, turns = await turns_while(files_of(body))
    assert isinstance(error, RequestInvalid)
    assert told in error.message
    assert turns <= 2 + (OUTSIDE_SIZE_BYTES_MAX + len(body) // 4) // SLICE_SIZE_BYTES


async def test_form_survives_being_cut_anywhere() -> None:
    """Boundaries and headers are found however the bytes arrive."""
    body = form(
        part('name="x"', b"v"), part('name="f"; filename="a"', b"\r\n--b\r\r\n-"), part("name=f; filename=b", b"")
    )
    expected = {"a": b"\r\n--b\r\r\n-", "b": b""}

    async def pieces(size: int):
        for start in range(0, len(body), size):
            yield body[start : start + size]

    with pytest.raises(RequestInvalid):
        await files_of(body)  # "--b" on a line of its own begins a part
    body = body.replace(b"\r\n--b\r\r\n-", b"\r\n--c\r\r\n-")
    for size in range(1, len(body)):
        parsed, found = Form("b", pieces(size), 10), {}
        while (one := await parsed.next_file()) is not None:
            found[one.filename] = b"".join([piece async for piece in parsed.pieces()])
        assert found == {**expected, "a": b"\r\n--c\r\r\n-"}


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [('name="f"', None), ('name="f"; filename=""', ""), ('filename="a b"', "a b"), ("filename=plain.txt", "plain.txt"),
     ("filename=dir/ü.txt", "dir/ü.txt"), ('filename="100%.txt"', "100%.txt"), ('filename="a%22b%0D%0A"', 'a"b\r\n'),
     ('filename="a%20b"', "a%20b"), (r'filename="a\"b\\c"', 'a"b\\c'), (r'filename="a\b"', "a\\b"),
     ('filename="a\\"', "a\\"), ('filename="a;b=c"', "a;b=c"), ('name="filename=x"', None), ('FILENAME="a"', "a"),
     (r'filename="C:\dir\a.txt"', "a.txt"), ("filename=\"x\"; filename*=UTF-8''%e2%82%ac%20a", "€ a"),
     ("filename*=iso-8859-1'en'%a3", "£"), ('filename="日本.txt"', "日本.txt"), ('filename="a" ; name="f" ;', "a")],
)  # fmt: skip
def test_filenames_are_read_as_browsers_and_curl_write_them(parameters: str, filename: str | None) -> None:
    """Quotes, percent signs, backslashes, UTF-8, and the extended form."""
    assert filename_of(f"form-data; {parameters}") == filename


@pytest.mark.parametrize(
    "parameters",
    ["filename*=UTF-8''%ff", "filename*=nonsense", "filename*0=a; filename*1=b", 'filename="a"b', "filename=a b"],
)  # fmt: skip
def test_filename_that_cannot_be_read_is_refused(parameters: str) -> None:
    """A file is not taken for a plain field, and its name is not guessed."""
    with pytest.raises(RequestInvalid):
        filename_of(f"form-data; {parameters}")


def test_boundary_may_be_quoted() -> None:
    """As the standard allows."""
    assert boundary_of('multipart/form-data; boundary="a b:c"; charset=utf-8') == "a b:c"
