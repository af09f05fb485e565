"""Files over HTTP on three real nodes: any size, any name, any node."""

import asyncio
import base64
import hashlib
import os
import random

import pytest
from aiohttp import ClientSession, FormData
from blake3 import blake3
from yarl import URL

from tests.support.local_cluster import LocalCluster

MIB = 1 << 20
SIZES = [0, 1, 64 << 10, (64 << 10) + 1, MIB - 1, MIB, MIB + 1, 5 * MIB]
NAMES = [
    "plain.txt", "with%20spaces", "%E6%97%A5%E6%9C%AC", "a/../b", "..", "%2e%2e/x", "a%2Fb", "a//b", "/lead", "trail/",
    "quote%22%27", "percent%25", "plus+plus", "x" * 1024,
]  # fmt: skip


def raw(url: str) -> URL:
    return URL(url, encoded=True)


@pytest.mark.parametrize("size", SIZES)
async def test_any_size_comes_back_identical_through_every_node(cluster, session: ClientSession, size: int) -> None:
    """What goes in through one node comes out of all of them."""
    contents = os.urandom(size)
    async with session.put(cluster.file_url("demo/file", "n1"), data=contents) as response:
        receipt = await response.json()
        assert response.status == 201
    assert receipt["size_bytes"] == size
    assert len(receipt["stored_on"]) >= 2
    for name in cluster.names:
        async with session.get(cluster.file_url("demo/file", name)) as response:
            assert await response.read() == contents
            assert response.headers["ETag"] == f'"{receipt["etag"]}"'


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_is_kept_as_it_is(cluster, session: ClientSession, name: str) -> None:
    """Names are bytes, not paths: nothing is normalised or confused with another name."""
    url = cluster.file_url(f"demo/{name}")
    async with session.put(raw(url), data=name.encode()) as response:
        assert response.status == 201, await response.text()
    async with session.get(raw(url.replace(cluster.url("n1"), cluster.url("n2")))) as response:
        assert await response.read() == name.encode()
    async with session.get(cluster.file_url("demo")) as response:
        assert len((await response.json())["files"]) == 1


@pytest.mark.parametrize(
    ("path", "field"), [("demo/" + "x" * 1025, "path"), ("demo/", "path"), ("demo/a%00b", "path"), ("demo/%ff", "path"),
                        ("b%20d/x", "bucket"), ("demo/x?r=9", "r"), ("demo/x?w=1", "w"), ("demo/x?foo=1", "foo"),
                        ("demo/x?consistency=eventual", "consistency")],
)  # fmt: skip
async def test_bad_requests_name_the_field(cluster, session: ClientSession, path: str, field: str) -> None:
    """What cannot be done is refused with 400 and the field at fault; nothing is stored."""
    async with session.put(raw(cluster.file_url(path)), data=b"x") as response:
        error = (await response.json())["error"]
        assert response.status == 400, error
        assert error["field"] == field
        assert response.headers["X-Request-Id"]


async def test_overwrite_and_delete_are_seen_everywhere(cluster, session: ClientSession) -> None:
    """The newest version wins on every node; after a delete there is none, and a second delete finds nothing."""
    for contents, node in ((b"one", "n1"), (b"two" * MIB, "n2"), (b"three", "n3")):
        async with session.put(cluster.file_url("demo/f", node), data=contents):
            pass
        for other in cluster.names:
            async with session.get(cluster.file_url("demo/f", other)) as response:
                assert await response.read() == contents
    async with session.delete(cluster.file_url("demo/f", "n2")) as response:
        assert response.status == 204
    for other in cluster.names:
        async with session.get(cluster.file_url("demo/f", other)) as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "not_found"
    async with session.delete(cluster.file_url("demo/f", "n1")) as response:
        assert response.status == 404


async def test_headers_and_conditions(cluster, session: ClientSession) -> None:
    """Type and metadata come back; HEAD has no body; an unchanged file is not sent again; scripts cannot run."""
    url = cluster.file_url("demo/page.html")
    sent = {"Content-Type": "text/html", "X-Meta-Color": "blue"}
    async with session.put(url, data=b"<b>hi</b>", headers=sent) as response:
        etag = response.headers["ETag"]
    async with session.head(url) as response:
        assert response.headers["Content-Length"] == "9"
        assert response.headers["Content-Type"] == "text/html"
        assert response.headers["X-Meta-Color"] == "blue"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        modified = response.headers["Last-Modified"]
    for condition in ({"If-None-Match": etag}, {"If-Modified-Since": modified}):
        async with session.get(url, headers=condition) as response:
            assert response.status == 304
            assert await response.read() == b""
    async with session.get(url, headers={"If-None-Match": '"other"', "If-Modified-Since": modified}) as response:
        assert response.status == 200
    async with session.put(url, data=b"x", headers={"If-None-Match": "*"}) as response:
        assert response.status == 501


@pytest.mark.parametrize("size", [1000, 3 * MIB + 17])
async def test_ranges(cluster, session: ClientSession, size: int, rng: random.Random) -> None:
    """Single, suffix and several ranges give exactly their bytes; impossible ones say the size."""
    contents = rng.randbytes(size)
    url = cluster.file_url("demo/f")
    async with session.put(url, data=contents) as response:
        etag = response.headers["ETag"]
    for _ in range(8):
        start = rng.randrange(size)
        stop = rng.randrange(start, size) + 1
        async with session.get(url, headers={"Range": f"bytes={start}-{stop - 1}"}) as response:
            assert response.status == 206
            assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
            assert await response.read() == contents[start:stop]
    async with session.get(url, headers={"Range": "bytes=-7"}) as response:
        assert await response.read() == contents[-7:]
    async with session.get(url, headers={"Range": f"bytes={size}-"}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{size}"
    async with session.get(url, headers={"Range": f"bytes=0-9,{size - 5}-"}) as response:
        assert response.status == 206
        assert response.content_type == "multipart/byteranges"
        body = await response.read()
        assert len(body) == response.content_length
        assert contents[:10] in body
        assert contents[-5:] in body
    for condition, status in ((etag, 206), ('"other"', 200)):
        async with session.get(url, headers={"Range": "bytes=0-0", "If-Range": condition}) as response:
            assert response.status == status


@pytest.mark.parametrize("size", [100, 2 * MIB])
async def test_announced_digests_are_checked(cluster, session: ClientSession, size: int) -> None:
    """The right digest passes, a wrong one is 422 and nothing is visible, nonsense is 400."""
    contents = os.urandom(size)
    url = cluster.file_url("demo/f")
    sha = base64.b64encode(hashlib.sha256(contents).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(contents).digest()).decode()
    wrong = {
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:",
        "Content-MD5": base64.b64encode(bytes(16)).decode(),
        "X-Content-Blake3": "00" * 32,
    }
    for field, value in wrong.items():
        async with session.put(url, data=contents, headers={field: value}) as response:
            assert response.status == 422
            assert (await response.json())["error"]["field"] == field
        async with session.put(url, data=contents, headers={field: "nonsense"}) as response:
            assert response.status == 400
    async with session.get(url) as response:
        assert response.status == 404
    right = {"Repr-Digest": f"sha-256=:{sha}:", "Content-MD5": md5, "X-Content-Blake3": blake3(contents).hexdigest()}
    async with session.put(url, data=contents, headers=right) as response:
        assert response.status == 201


async def test_form_upload_stores_every_file(cluster, session: ClientSession) -> None:
    """A form with files of all sizes and a plain field; names go under the prefix."""
    files = {f"f{i}": os.urandom(size) for i, size in enumerate((0, 10, 70_000, 3 * MIB))}
    form = FormData()
    form.add_field("comment", "not a file")
    for name, contents in files.items():
        form.add_field("files", contents, filename=name, content_type="image/png")
    async with session.post(cluster.file_url("demo/photos"), data=form) as response:
        assert response.status == 201
        assert [one["path"] for one in (await response.json())["files"]] == [f"photos/{name}" for name in files]
    for name, contents in files.items():
        async with session.get(cluster.file_url(f"demo/photos/{name}", "n2")) as response:
            assert await response.read() == contents
            assert response.content_type == "image/png"


@pytest.mark.parametrize(
    "body",
    [b"garbage", b"--b\r\nno header", b"--b\r\nContent-Disposition: form-data; name=x; filename=y\r\n\r\ncut off", b""],
)
async def test_broken_form_is_refused(cluster, session: ClientSession, body: bytes) -> None:
    """A form that is not one is a clear 400, and the cut-off file is not visible."""
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with session.post(cluster.file_url("demo/p"), data=body, headers=headers) as response:
        assert response.status == 400, await response.text()
    async with session.get(cluster.file_url("demo/p/y")) as response:
        assert response.status == 404


async def test_client_that_goes_away_mid_upload_leaves_nothing_visible(cluster, session: ClientSession) -> None:
    """Half a body is no file, with a length announced or without; its room in the budgets is given back."""
    for head in ("Content-Length: 5000000", "Transfer-Encoding: chunked"):
        _, writer = await asyncio.open_connection("127.0.0.1", cluster.http_ports["n1"])
        writer.write(f"PUT /v1/files/demo/half HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n\r\n".encode())
        writer.write(b"1f4000\r\n" * head.startswith("T") + os.urandom(2_000_000))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(5):
            while cluster.nodes["n1"].replication.seats.held_bytes:
                await asyncio.sleep(0.01)
        async with session.get(cluster.file_url("demo/half", "n2")) as response:
            assert response.status == 404


async def test_concurrent_writers_through_all_nodes_leave_one_version_everywhere(cluster, session) -> None:
    """Whoever wins, all nodes agree."""

    async def put(i: int) -> None:
        async with session.put(cluster.file_url("demo/hot", f"n{i % 3 + 1}"), data=b"%d" % i) as response:
            assert response.status == 201

    await asyncio.gather(*(put(i) for i in range(30)))
    seen = set()
    for name in cluster.names:
        async with session.get(cluster.file_url("demo/hot", name)) as response:
            seen.add(await response.read())
    assert len(seen) == 1


async def test_gateway_that_owns_no_copy_forwards(make_cluster, session: ClientSession) -> None:
    """With five nodes most files are put and got through a node that holds none of them."""
    cluster: LocalCluster = make_cluster(count=5)
    await cluster.start()
    for i in range(12):
        contents = os.urandom(200_000 * (i % 2) + i)
        async with session.put(cluster.file_url(f"demo/f{i}", f"n{i % 5 + 1}"), data=contents) as response:
            assert response.status == 201, await response.text()
        async with session.get(cluster.file_url(f"demo/f{i}", f"n{(i + 2) % 5 + 1}")) as response:
            assert await response.read() == contents
    async with session.delete(cluster.file_url("demo/f0", "n4")) as response:
        assert response.status == 204
    async with session.get(cluster.file_url("demo", "n5")) as response:
        assert len((await response.json())["files"]) == 11


async def test_first_writes_of_a_bucket_make_it_once(cluster, session, events) -> None:
    """However many come at the same moment."""

    async def put(number: int) -> int:
        async with session.put(cluster.file_url(f"together/{number}"), data=b"x") as response:
            return response.status

    assert set(await asyncio.gather(*(put(number) for number in range(40)))) == {201}
    assert [event["bucket"] for event in events if event["event"] == "bucket.made"] == ["together"]
