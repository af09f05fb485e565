"""Stand-ins for nodes that remember what they were asked, and a real cluster seen through a client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dynafs.client import DynafsClient
from dynafs.files import FileName
from dynafs.ring import file_hash, partition_of
from tests.conftest import LocalCluster

CONTENTS_HEAD = b'HTTP/1.1 200 OK\r\nX-Dynafs-Version: 1-n1-0\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'
RECEIPT = b'{"version": "1", "etag": "", "size_bytes": 0, "stored_on": ["n1"]}'


def owners_of(cluster: LocalCluster, path: str) -> list[str]:
    """Return the owners of demo/PATH by the ring of the product."""
    ring = next(iter(cluster.nodes.values())).replication.ring
    return list(ring.owners[partition_of(file_hash(FileName("demo", path).key), ring.partition_count)])


async def asked_node(client: DynafsClient, method: str, path: str) -> str:
    """Send a request for demo/PATH through the client; return the name of the node that answered it."""
    data = b"contents" if method == "PUT" else None
    statuses, file = (200, 201, 204, 404), FileName("demo", path)
    async with client.request(method, f"/v1/files/demo/{path}", statuses=statuses, data=data, file=file) as response:
        await response.read()
        return response.headers["X-Request-Id"].rpartition("-")[0]


async def learned(client: DynafsClient, cluster: LocalCluster, path: str = "first") -> None:
    """Send requests until all owners of demo/PATH have answered some."""
    left = set(owners_of(cluster, path))
    while left:
        left.discard(await asked_node(client, "HEAD", path))


class FakeNode:
    """A server that answers as nodes do, and keeps the heads of requests.

    answers: {start of the request line: answer} before all others. heads: what arrived, in order.
    """

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.answers: dict[bytes, bytes] = {}
        self.address = ""

    @property
    def lines(self) -> list[str]:
        """The request lines, without the version."""
        return [head.partition(b" HTTP")[0].decode() for head in self.heads]

    def told_to_be(self, instance: str) -> None:
        """Name itself so, and take requests."""
        self.answers[b"GET /readyz"] = json_body({"status": "ready", "instance": instance})
        self.answers[b"GET /v1/cluster"] = json_body({})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = next(
                    (line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b"0"
                )
                answer = next((one for start, one in self.answers.items() if head.startswith(start)), None)
                if answer == b"":
                    break
                await reader.readexactly(int(length))
                writer.write(answer or (json_body(RECEIPT, 201) if head.startswith(b"PUT") else CONTENTS_HEAD))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeNode"]:
        """Listen while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()


def json_body(value: object, status: int = 200) -> bytes:
    """Return an answer with JSON, the connection left open."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def description(*nodes: tuple[str, str], **changes: object) -> dict[str, object]:
    """Return owners of one partition: nodes as (address, instance), all of them owners."""
    rows = [
        {"node": f"n{i}", "http": http, "instance": instance, "is_up": True, "is_draining": False}
        for i, (http, instance) in enumerate(nodes, 1)
    ]
    return {"version": 1, "epoch": 1, "n": len(rows), "nodes": rows, "owners": [list(range(len(rows)))], **changes}
