"""Clients that use a cluster while it is upgraded, and judge every response.

Each client has a bucket of its own and sends one request at a time. So it can name what every read and listing must
return, whatever node it goes through.
"""

import asyncio
import itertools
import random
from collections import Counter
from typing import Any, NamedTuple, Protocol

import aiohttp
import msgspec

from tools.faults.client import contents

SIZES_BYTES = (0, 100, 4_000, 70_000, 400_000, 3 << 20)
#: Of SIZES_BYTES: most files are small.
SIZE_WEIGHTS = (1, 6, 6, 4, 3, 1)
#: Files of a client at a time; all of them fit into one page of a listing.
FILES_MAX = 30
#: Pause of a client after a request without a result.
RETRY_S = 0.05
STEPS, STEP_WEIGHTS = ("put", "get", "delete", "list"), (35, 40, 15, 10)


class Nodes(Protocol):
    """A cluster, as far as clients use it."""

    names: list[str]

    def url(self, name: str) -> str: ...


class Contents(NamedTuple):
    """A file's contents, by the seed that they follow from."""

    seed: int
    size_bytes: int

    def body(self) -> bytes:
        return contents(self.seed, self.size_bytes)


class Reply(NamedTuple):
    """A response. status: 0 when the connection broke; then `code` says how."""

    status: int
    body: bytes
    #: of an error: its code, and whether a write may have happened nevertheless
    code: str = ""
    is_unknown: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether the node gave no result."""
        return self.status == 0 or self.status >= 500


class Load:
    """A number of clients, and what they found."""

    def __init__(self, nodes: Nodes, session: aiohttp.ClientSession, seed: int, clients: int) -> None:
        self._nodes, self._session = nodes, session
        #: nodes that new requests go to
        self.serving = list(nodes.names)
        self.requests: Counter[str] = Counter()
        #: requests without a result, by method, node and error
        self.failures: Counter[str] = Counter()
        #: responses that contradict confirmed writes
        self.wrong: list[str] = []
        self._is_over = asyncio.Event()
        self._clients = [self._client(f"client{number}", seed) for number in range(clients)]
        #: writes files at first, and only reads them afterwards
        self._archive = self._client("archive", seed)

    def _client(self, bucket: str, seed: int) -> "LoadClient":
        return LoadClient(self, bucket, random.Random(f"{seed} {bucket}"))

    async def fill(self, files: int) -> None:
        """Write files that stay as they are."""
        await self._archive.fill(files)

    async def run(self) -> None:
        """Send requests until `end`."""
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(client.work(self._is_over))

    def end(self) -> None:
        """Have every client finish the request that it waits for."""
        self._is_over.set()

    def found(self) -> str:
        """Return what went wrong so far, in words."""
        failures = ", ".join(f"{failure} ({count} times)" for failure, count in self.failures.most_common(10))
        return f"Wrong: {len(self.wrong)}; failed: {failures or 'none'}"

    async def verify(self) -> int:
        """Read every file and every listing through every node; return how many files there are. Call it when no
        client runs. Here a request without a result is wrong, too."""
        before, clients = self.failures.copy(), [*self._clients, self._archive]
        for node in self._nodes.names:
            await asyncio.gather(*(client.verify(node) for client in clients))
        self.wrong += [f"{failure}, {count} times" for failure, count in (self.failures - before).items()]
        return sum(client.file_count for client in clients)

    async def verify_archive(self, node: str) -> None:
        """Read the files that stay as they are through one node."""
        await self._archive.verify(node)

    async def request(self, method: str, node: str, path: str, body: bytes | None = None) -> Reply:
        """Send a request, and count it, and its error unless that is a 4xx."""
        self.requests[method] += 1
        reply = await self._send(method, f"{self._nodes.url(node)}/v1/files/{path}", body)
        if reply.has_failed:
            self.failures[f"{method} at {node}: {reply.status or 'no response'} {reply.code}"] += 1
            await asyncio.sleep(RETRY_S)
        return reply

    async def _send(self, method: str, url: str, body: bytes | None) -> Reply:
        try:
            async with self._session.request(method, url, data=body) as response:
                received = await response.read()
                if response.status < 400:
                    return Reply(response.status, received)
                error: dict[str, Any] = (await response.json())["error"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return Reply(0, b"", type(error).__name__, is_unknown=True)
        return Reply(response.status, b"", error["code"], is_unknown=error.get("outcome") != "not_written")


class LoadClient:
    """One client. Files whose state is unknown after a failed write are left alone; others take their place."""

    def __init__(self, load: Load, bucket: str, rng: random.Random) -> None:
        self._load, self._bucket, self._rng = load, bucket, rng
        self._numbers = itertools.count()
        #: {path: its contents, None once it is deleted}
        self.files: dict[str, Contents | None] = {}
        self._unknown: set[str] = set()

    @property
    def file_count(self) -> int:
        """How many files exist, without those whose state is unknown."""
        return sum(held is not None for held in self.files.values())

    async def fill(self, count: int) -> None:
        """Write new files."""
        for _ in range(count):
            await self._put(self._new_path(), self._node())

    async def work(self, is_over: asyncio.Event) -> None:
        """Send one request after another."""
        while not is_over.is_set():
            (step,) = self._rng.choices(STEPS, STEP_WEIGHTS)
            known = list(self.files)
            if step == "list":
                await self._list(self._node())
            elif step == "put":
                is_new = len(known) < FILES_MAX and self._rng.random() < 0.5
                await self._put(self._new_path() if is_new or not known else self._rng.choice(known), self._node())
            elif known:
                await (self._get if step == "get" else self._delete)(self._rng.choice(known), self._node())

    async def verify(self, node: str) -> None:
        """Read everything through one node."""
        for path in list(self.files):
            await self._get(path, node)
        await self._list(node)

    def _node(self) -> str:
        return self._rng.choice(self._load.serving)

    def _new_path(self) -> str:
        return f"folder{self._rng.randrange(3)}/{next(self._numbers)}"

    async def _put(self, path: str, node: str) -> None:
        (size_bytes,) = self._rng.choices(SIZES_BYTES, SIZE_WEIGHTS)
        new = Contents(self._rng.randrange(2**32), size_bytes)
        reply = await self._load.request("PUT", node, f"{self._bucket}/{path}", new.body())
        if reply.status == 201:
            self.files[path] = new
        else:
            self._fail("PUT", path, node, reply)

    async def _delete(self, path: str, node: str) -> None:
        reply = await self._load.request("DELETE", node, f"{self._bucket}/{path}")
        is_file = self.files[path] is not None
        if reply.status == 204:
            self._check(is_file, f"DELETE {self._bucket}/{path} at {node} finds a file that was deleted")
            self.files[path] = None
        elif reply.status == 404:
            self._check(not is_file, f"DELETE {self._bucket}/{path} at {node} finds no file")
        else:
            self._fail("DELETE", path, node, reply)

    def _fail(self, method: str, path: str, node: str, reply: Reply) -> None:
        """Give up a path after a write of unknown outcome. Requests are valid: only a node can be the reason."""
        self._check(
            not 400 <= reply.status < 500, f"{method} {self._bucket}/{path} at {node}: {reply.status} {reply.code}"
        )
        if reply.is_unknown:
            self.files.pop(path, None)
            self._unknown.add(path)

    async def _get(self, path: str, node: str) -> None:
        right = self.files[path]
        reply = await self._load.request("GET", node, f"{self._bucket}/{path}")
        if reply.has_failed:
            return
        found = reply.body if reply.status == 200 else reply.status
        self._check(
            found == (404 if right is None else right.body()),
            f"GET {self._bucket}/{path} at {node}: {reply.status} with {len(reply.body)} bytes, not {right}",
        )

    async def _list(self, node: str) -> None:
        reply = await self._load.request("GET", node, self._bucket)
        if reply.has_failed:
            return
        right = {path for path, held in self.files.items() if held is not None}
        # A bucket is made by its first file.
        found = _paths(reply.body) if reply.status == 200 else set()
        missing, unexpected = right - found, found - right - self._unknown
        is_right = not missing and not unexpected and (reply.status == 200 or not right)
        found_wrong = f"missing {sorted(missing)}, unexpected {sorted(unexpected)}"
        self._check(is_right, f"list {self._bucket} at {node}: {reply.status}, {found_wrong}")

    def _check(self, is_right: bool, problem: str) -> None:  # noqa: FBT001
        if not is_right:
            self._load.wrong.append(problem)


def _paths(body: bytes) -> set[str]:
    return {row["path"] for row in msgspec.json.decode(body)["files"]}
