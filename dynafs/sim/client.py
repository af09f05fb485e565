"""A client of a simulated cluster: does what the HTTP layer would do, and writes down what came of it."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import cycle
from typing import NamedTuple, TypeVar

from dynafs.coordinator.commit import Receipt
from dynafs.coordinator.upload import UploadPlan
from dynafs.errors import (
    ClockSkewed,
    DynafsError,
    NotFound,
    Overloaded,
    ReadQuorumLost,
    RequestInvalid,
    StoreError,
    TooManySiblings,
    WriteQuorumLost,
)
from dynafs.files import FileName, Version
from dynafs.http.asking import CONTEXT_HEADER, context_of
from dynafs.quorum import QuorumPolicy
from dynafs.services import Replication
from dynafs.sim.errors import PromiseBroken
from dynafs.sim.history import History, LooseWrite, SeenListing, contents_of
from dynafs.sim.world import CHUNK_SIZE_BYTES, World
from dynafs.wire.context_token import SHOWN_SIZE_BYTES_MAX

T = TypeVar("T")

#: How long a client waits before it gives a request up, unless it says otherwise.
PATIENCE_S = 12.0
#: One way between a client and a node.
CLIENT_DELAY_S = 0.0005
#: Errors after which a write certainly did not happen.
NOT_WRITTEN = (ClockSkewed, Overloaded, ReadQuorumLost, RequestInvalid, NotFound, StoreError, TooManySiblings)
#: Of a context token.
FEW_ACTORS_SIZE_BYTES = 64


class ConnectionFailed(DynafsError):
    """The node was not there, or went away. is_sent: whether it may have seen the request."""

    code = "connection_failed"

    def __init__(self, *, is_sent: bool) -> None:
        super().__init__("the connection broke" if is_sent else "connection refused", is_sent=is_sent)
        self.is_sent = is_sent


class Target(NamedTuple):
    """A file as a client names it, with the quorum numbers of this request (None: the bucket's)."""

    bucket: str
    path: str
    r: int | None = None
    w: int | None = None

    @property
    def name(self) -> str:
        """bucket/path."""
        return f"{self.bucket}/{self.path}"


class SimClient:
    """Talks to any node of the world. Every method returns whether the operation succeeded."""

    def __init__(self, world: World, history: History, name: str = "client", patience_s: float = PATIENCE_S) -> None:
        """patience_s: how long it waits before it gives a request up."""
        self._world, self._history, self._name, self._patience_s = world, history, name, patience_s
        #: {file: what was last read of it, as a context token and as the values that stood}
        self._seen: dict[str, tuple[str | None, frozenset[str]]] = {}
        #: half of all tokens have room for two or three actors only, as if there were very many
        self._token_sizes = cycle((SHOWN_SIZE_BYTES_MAX, FEW_ACTORS_SIZE_BYTES))

    async def put(
        self,
        node: str,
        target: Target,
        value: str,
        size_bytes: int,
        piece_bytes: int = 4096,
        pause_s: float = CLIENT_DELAY_S,
        token: str | None = None,
    ) -> bool:
        """Write a file whose contents are named `value`. pause_s: between two pieces of it. token: instead of the one
        that came with the last read."""
        body = contents_of(value, size_bytes)

        async def work(replication: Replication) -> Receipt:
            policy = await replication.buckets.find_or_make(target.bucket)
            quorum = replication.buckets.quorum(policy, target.r, target.w)
            name, text = FileName(target.bucket, target.path), token or self._seen.get(target.name, (None,))[0]
            seen = context_of({CONTEXT_HEADER: text} if text else {}, replication.context_tokens, name)
            plan = UploadPlan(
                name, quorum, CHUNK_SIZE_BYTES, len(body), metadata={"value": value}, keeps_both=policy.keeps_both,
                seen=seen,
            )  # fmt: skip
            return await replication.uploader.upload(plan, _pieces(body, piece_bytes, pause_s))

        return await self._write(node, target, value, work)

    async def delete(self, node: str, target: Target) -> bool:
        """Delete a file; finding none is a read that saw none."""

        async def work(replication: Replication) -> Receipt:
            quorum = await _quorum(replication, target)
            return await replication.files.delete(FileName(target.bucket, target.path), quorum)

        return await self._write(node, target, None, work)

    async def _write(
        self, node: str, target: Target, value: str | None, work: Callable[[Replication], Awaitable[Receipt]]
    ) -> bool:
        history, called = self._history, self._world.loop.time()
        kind = "delete" if value is None else "put"
        try:
            receipt = await self._ask(node, work)
        except (DynafsError, TimeoutError) as error:
            outcome = self._outcome(error)
            history.count(f"{kind} {outcome}")
            self._note(kind, node, target, f"{value} {outcome} {error}")
            if outcome == "unknown":
                self._note_write(target, value, called)
            elif isinstance(error, NotFound):
                history.read(target.name, None, called, self._world.loop.time())
            return False
        history.count(f"{kind} done")
        returned = self._world.loop.time()
        self._note_write(target, value, called, returned, str(receipt.version.stamp))
        history.stamps.setdefault(target.name, []).append((called, returned, str(receipt.version.stamp)))
        self._note(kind, node, target, f"{value} done")
        return True

    def _note_write(
        self, target: Target, value: str | None, called: float, returned: float = math.inf, stamp: str = ""
    ) -> None:
        self._history.wrote(target.name, value, called, returned)
        if target.bucket in self._history.available:
            seen = None if value is None else self._seen.get(target.name, (None, frozenset()))[1]
            one = LooseWrite(value, called, returned, seen, stamp)
            self._history.loose.setdefault(target.name, []).append(one)

    @staticmethod
    def _outcome(error: Exception) -> str:
        if isinstance(error, NOT_WRITTEN):
            return error.code
        if isinstance(error, WriteQuorumLost):
            return str(error.evidence["outcome"])
        if isinstance(error, ConnectionFailed):
            return "unknown" if error.is_sent else "not_written"
        if isinstance(error, TimeoutError):
            return "unknown"
        raise PromiseBroken("errors", f"a write failed with {error!r}") from error

    async def get(self, node: str, target: Target, start: int = 0, stop: int | None = None) -> bool:
        """Read a file, or the part of it from start to stop, and check that the bytes are those of its version."""
        history, called = self._history, self._world.loop.time()

        async def work(replication: Replication) -> tuple[Version, bytes]:
            quorum = await _quorum(replication, target)
            name = FileName(target.bucket, target.path)
            record = await replication.files.read(name, quorum)
            version = record.files[0]
            text = replication.context_tokens.issue(name.key, record, next(self._token_sizes))
            self._seen[target.name] = (text, frozenset(one.metadata["value"] for one in record.files))
            end = version.size_bytes if stop is None else min(stop, version.size_bytes)
            download = await replication.files.open(name, version, [(min(start, end), end)])
            try:
                return version, b"".join([bytes(piece.data) async for piece in download.pieces()])
            finally:
                download.close()

        try:
            version, body = await self._ask(node, work)
        except NotFound:
            history.read(target.name, None, called, self._world.loop.time())
            history.count("get none")
            self._note("get", node, target, "none")
            return True
        except (DynafsError, TimeoutError) as error:
            code = error.code if isinstance(error, DynafsError) else "timeout"
            history.count(f"get {code}")
            self._note("get", node, target, f"{code} {error}")
            return False
        value = version.metadata["value"]
        end = version.size_bytes if stop is None else min(stop, version.size_bytes)
        if body != contents_of(value, version.size_bytes)[min(start, end) : end]:
            raise PromiseBroken("bytes", f"{node} answered {target.name} with {len(body)} bytes that {value} never had")
        history.read(target.name, value, called, self._world.loop.time())
        history.count("get done")
        self._note("get", node, target, f"{value} [{start}:{end}]")
        return True

    async def list(self, node: str, bucket: str, prefix: str = "", delimiter: str = "", limit: int = 5) -> bool:
        """List all files under a prefix, page by page, folding what a delimiter separates."""
        called = self._world.loop.time()

        async def work(replication: Replication) -> tuple[list[str], list[str]]:
            policy = await replication.buckets.find(bucket)
            quorum = replication.buckets.quorum(policy)
            paths, prefixes = [], []
            after: bytes | None = b""
            while after is not None:
                page = await replication.lister.page(bucket, prefix, delimiter, after, limit, quorum)
                paths += [path for path, _ in page.files]
                prefixes += page.prefixes
                after = page.after
            return paths, prefixes

        try:
            paths, prefixes = await self._ask(node, work)
        except NotFound:
            paths, prefixes = [], []
        except (DynafsError, TimeoutError) as error:
            code = error.code if isinstance(error, DynafsError) else "timeout"
            self._history.count(f"list {code}")
            return False
        self._history.count("list done")
        returned = self._world.loop.time()
        seen = SeenListing(bucket, prefix, tuple(paths), called, returned, delimiter, tuple(prefixes))
        self._history.listings.append(seen)
        self._world.trace.note(self._name, "list", (node, bucket, prefix, delimiter, paths, prefixes))
        return True

    async def _ask(self, node: str, work: Callable[[Replication], Awaitable[T]]) -> T:
        """Run a handler at a node as a connection would: it dies with the node, and when the client gives up."""
        world = self._world
        await asyncio.sleep(CLIENT_DELAY_S)
        if (wait_s := world.network.paused.get(node, 0.0) - world.loop.time()) > 0:
            await asyncio.sleep(wait_s)
        target = world.nodes[node]
        life = target.life
        if life is None:
            await asyncio.sleep(CLIENT_DELAY_S)
            raise ConnectionFailed(is_sent=False)

        async def handle() -> T:
            return await work(target.replication)

        task = world.loop.create_task(handle(), context=life.context.copy())
        life.adopt(task)
        await asyncio.wait([task], timeout=self._patience_s)
        if not task.done():
            task.cancel()
            raise TimeoutError
        await asyncio.sleep(CLIENT_DELAY_S)
        if task.cancelled():
            raise ConnectionFailed(is_sent=True)
        return task.result()

    def _note(self, kind: str, node: str, target: Target, outcome: str) -> None:
        self._world.trace.note(self._name, kind, f"{node} {target.name} r={target.r} w={target.w} {outcome}")


async def _quorum(replication: Replication, target: Target) -> QuorumPolicy:
    policy = await replication.buckets.find(target.bucket)
    return replication.buckets.quorum(policy, target.r, target.w)


async def _pieces(body: bytes, piece_bytes: int, pause_s: float) -> AsyncIterator[bytes]:
    for start in range(0, len(body), piece_bytes):
        yield body[start : start + piece_bytes]
        await asyncio.sleep(pause_s)
