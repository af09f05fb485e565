"""Uploads: a byte stream in, a committed version out."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple, Protocol, Self

from blake3 import blake3

from dynafs.admission.budget import ByteBudget
from dynafs.admission.gathered import Gathered
from dynafs.admission.reservation import Client, Reservation
from dynafs.causality import Context
from dynafs.coordinator.chunks import ChunkBytes, ReplicatedChunks
from dynafs.coordinator.commit import UNSTAMPED, Committer, Receipt
from dynafs.coordinator.references import ReferenceNotifier
from dynafs.errors import BodyIncomplete, DigestMismatch, WriteQuorumLost
from dynafs.files import FileName, Manifest, Version, VersionKind
from dynafs.files.manifest import plan_pages
from dynafs.files.version import etag_of
from dynafs.jobs.tasks import note_failure
from dynafs.ports import Clock
from dynafs.quorum import QuorumPolicy
from dynafs.wire.segments import chunk_id_of

UPLOAD_ID_SIZE_BYTES = 16


class ExpectedDigest(NamedTuple):
    """What the client says the whole body hashes to. field: the header; algorithm: "md5", "sha-256", "blake3"."""

    field: str
    algorithm: str
    digest: bytes


class UploadPlan(NamedTuple):
    """What the client said about a file before its bytes. size_bytes: None when it did not say.

    keeps_both: whether versions written side by side stay. seen: those that the client had seen, if it said so.
    client: that the bytes come from; None for a node's own.
    """

    name: FileName
    policy: QuorumPolicy
    chunk_size_bytes: int
    size_bytes: int | None = None
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = {}
    expected: tuple[ExpectedDigest, ...] = ()
    keeps_both: bool = False
    seen: Context | None = None
    client: Client | None = None

    def buffer_bytes(self, received_bytes: int = 0) -> int:
        """Return the size of the chunk that begins here, or the most that it can have."""
        if self.size_bytes is None:
            return self.chunk_size_bytes
        return min(max(self.size_bytes - received_bytes, 1), self.chunk_size_bytes)


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


class UploadRoom(NamedTuple):
    """Where bytes may be while they arrive. check_room: raises StoreFull when this node's disk takes no new contents.
    seats: for chunks that gather. sending: for chunks on their way to owners."""

    check_room: Callable[[], None]
    seats: ByteBudget
    sending: ByteBudget


class UploadRules(NamedTuple):
    """How a body becomes a version. inline_limit_bytes: a smaller body is kept in its record. renew_after_s: an upload
    that takes longer has its chunks confirmed before it is committed."""

    inline_limit_bytes: int
    chunks_in_flight: int
    renew_after_s: float


class Uploader:
    """Takes bodies in. One per node."""

    def __init__(
        self,
        committer: Committer,
        keeper: ReplicatedChunks,
        references: ReferenceNotifier,
        clock: Clock,
        room: UploadRoom,
        rules: UploadRules,
    ) -> None:
        self.committer, self.keeper, self.references, self.clock = committer, keeper, references, clock
        self.room, self.rules = room, rules

    async def upload(self, plan: UploadPlan, source: AsyncIterator[bytes]) -> Receipt:
        """Store the body and commit it as the file's newest version. Nothing is visible unless this returns, or raises
        WriteQuorumLost with an unknown outcome. Raises BodyIncomplete, DigestMismatch, Overloaded,
        StoreFull, QuorumError."""
        self.room.check_room()
        if plan.size_bytes is not None and plan.size_bytes <= self.rules.inline_limit_bytes:
            return await self._upload_small(plan, plan.size_bytes, source)
        with self.room.seats.open(plan.buffer_bytes(), plan.client) as seat:
            key = plan.name.key
            context = self.committer.begin_context(key, plan.policy)
            cutter = _ChunkCutter(self, plan, seat)
            is_offered = False
            try:
                async with cutter:
                    async for piece in source:
                        await cutter.feed(piece)
                    draft = await cutter.finish()
                is_offered = True
                return await self.committer.commit(key, draft, plan.policy, context, seen=plan.seen)
            except BaseException as error:
                if not is_offered or _is_not_written(error):
                    cutter.abandon()
                raise
            finally:
                if context is not None:
                    context.cancel()
                    context.add_done_callback(note_failure)

    async def _upload_small(self, plan: UploadPlan, size_bytes: int, source: AsyncIterator[bytes]) -> Receipt:
        """Store a body that was announced to fit into its record: it needs no chunks, and what its version must stand
        above is learned when it has arrived, which is nearly at once."""
        gathered, left_bytes, upload_id = Gathered(), size_bytes, self.clock.random_bytes(UPLOAD_ID_SIZE_BYTES)
        with self.room.seats.open(max(size_bytes, 1), plan.client) as seat:
            async for piece in source:
                if not seat.try_grow(len(piece)):
                    await seat.grow(len(piece))
                gathered.add(piece)
                left_bytes -= len(piece)
                if left_bytes < 0:
                    break
            if left_bytes:
                raise _not_as_announced(size_bytes - left_bytes, size_bytes)
            inline = gathered.take()
            for one in plan.expected:
                hasher = _new_hasher(one.algorithm)
                hasher.update(inline)
                _check_digest(one, hasher)
            draft = _draft(plan, upload_id, size_bytes, etag_of([chunk_id_of(inline)]), inline=inline)
            return await self.committer.commit(plan.name.key, draft, plan.policy, seen=plan.seen)


def _is_not_written(error: BaseException) -> bool:
    return isinstance(error, WriteQuorumLost) and error.evidence["outcome"] == "not_written"


class _ChunkCutter:
    """Cuts one body into chunks and keeps up to `chunks_in_flight` of them on their way."""

    def __init__(self, uploader: Uploader, plan: UploadPlan, seat: Reservation) -> None:
        """seat: room for what is gathered of the next chunk."""
        self._uploader, self._plan, self._seat = uploader, plan, seat
        self._upload_id = uploader.clock.random_bytes(UPLOAD_ID_SIZE_BYTES)
        self._key = plan.name.key
        self._gathered = Gathered()
        self._size_bytes = 0
        self._ids: list[bytes] = []
        #: everything that was given to owners, manifest pages included
        self._all_ids: list[bytes] = []
        self._confirmed_s = uploader.clock.monotonic_s()
        #: chunks on their way, in the order of the file
        self._sends: dict[asyncio.Task[None], None] = {}
        #: what those of them hold that did not begin: a task that is cancelled before its first step does nothing
        self._unbegun: set[Reservation] = set()
        self._hashers = [(one, _new_hasher(one.algorithm)) for one in plan.expected]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._sends:
            task.cancel()
        for holding in self._unbegun:
            holding.release()
        await asyncio.gather(*self._sends, return_exceptions=True)

    async def feed(self, piece: bytes) -> None:
        """Take bytes of any length."""
        for _, hasher in self._hashers:
            hasher.update(piece)
        limit = self._plan.chunk_size_bytes
        view = memoryview(piece)
        while self._gathered.size_bytes + len(view) >= limit:
            taken = limit - self._gathered.size_bytes
            await self._add(view[:taken])
            view = view[taken:]
            await self._send(self._gathered.take())
        if view:
            await self._add(view)

    async def _add(self, view: memoryview) -> None:
        """Keep bytes for the next chunk as soon as there is room for them."""
        if not self._seat.try_grow(len(view)):
            await self._seat.grow(len(view))
        self._gathered.add(view)
        self._size_bytes += len(view)

    async def _send(self, body: ChunkBytes) -> None:
        """Start storing a chunk; waits while too many are on their way."""
        await self._renew()
        holding = await self._uploader.room.sending.take(len(body), self._plan.client, may_cut=False)
        self._seat.empty()
        self._seat.declare(self._plan.buffer_bytes(self._size_bytes))
        try:
            while len(self._sends) >= self._uploader.rules.chunks_in_flight:
                await self._reap(asyncio.FIRST_COMPLETED)
        except BaseException:
            holding.release()
            raise
        chunk_id = chunk_id_of(body)
        self._ids.append(chunk_id)
        self._all_ids.append(chunk_id)
        self._unbegun.add(holding)
        self._sends[asyncio.create_task(self._store(chunk_id, body, holding))] = None

    async def _store(self, chunk_id: bytes, body: ChunkBytes, holding: Reservation) -> None:
        keeper, policy = self._uploader.keeper, self._plan.policy
        self._unbegun.discard(holding)
        await keeper.store(chunk_id, self._upload_id, self._key, body, policy, on_settled=holding.release)

    async def _reap(self, until: str) -> None:
        """Wait for sends; the first failure ends the upload."""
        if not self._sends:
            return
        await asyncio.wait(self._sends, return_when=until)
        done = [task for task in self._sends if task.done()]
        for task in done:
            del self._sends[task]
        failures = [error for task in done if (error := task.exception()) is not None]
        if failures:
            raise failures[0]

    async def finish(self) -> Version:
        """Return the draft of the version once all its chunks are held by W owners."""
        plan = self._plan
        if plan.size_bytes is not None and self._size_bytes != plan.size_bytes:
            raise _not_as_announced(self._size_bytes, plan.size_bytes)
        for expected, hasher in self._hashers:
            _check_digest(expected, hasher)
        if self._size_bytes <= self._uploader.rules.inline_limit_bytes and not self._ids:
            inline = self._gathered.take()
            return self._drafted(etag_of([chunk_id_of(inline)]), inline=inline)
        if self._gathered.size_bytes:
            await self._send(self._gathered.take())
        etag = etag_of(self._ids)
        manifest = await self._manifest()
        while self._sends:
            await self._reap(asyncio.FIRST_EXCEPTION)
        await self._renew()
        return self._drafted(etag, manifest=manifest)

    def _drafted(self, etag: str, inline: bytes | None = None, manifest: Manifest | None = None) -> Version:
        return _draft(self._plan, self._upload_id, self._size_bytes, etag, inline, manifest)

    async def _renew(self) -> None:
        """After a long time, make sure that all chunks are still there and stay until the commit is through."""
        uploader, now_s = self._uploader, self._uploader.clock.monotonic_s()
        if now_s - self._confirmed_s <= uploader.rules.renew_after_s:
            return
        while self._sends:
            await self._reap(asyncio.FIRST_EXCEPTION)
        await uploader.references.renew(self._key, self._upload_id, self._all_ids, self._plan.policy)
        self._confirmed_s = now_s

    def abandon(self) -> None:
        """Tell the owners that nobody will ever ask for these chunks."""
        self._uploader.references.abandoned(self._key, self._upload_id, self._all_ids)

    async def _manifest(self) -> Manifest:
        size = self._plan.chunk_size_bytes
        pages = plan_pages(self._ids)
        if not pages:
            return Manifest(size, b"".join(self._ids))
        self._ids = []
        for page in pages:
            await self._send(page)
        return Manifest(size, b"".join(self._ids), paged=True)


def _draft(
    plan: UploadPlan,
    upload_id: bytes,
    size_bytes: int,
    etag: str,
    inline: bytes | None = None,
    manifest: Manifest | None = None,
) -> Version:
    return Version(
        stamp=UNSTAMPED,
        kind=VersionKind.FILE,
        upload_id=upload_id,
        size_bytes=size_bytes,
        content_type=plan.content_type,
        etag=etag,
        metadata=dict(plan.metadata),
        inline=inline,
        manifest=manifest,
        keeps_both=plan.keeps_both,
    )


def _not_as_announced(size_bytes: int, announced_bytes: int) -> BodyIncomplete:
    return BodyIncomplete(f"the body has {size_bytes} bytes, {announced_bytes} were announced")


def _check_digest(expected: ExpectedDigest, hasher: _Hasher) -> None:
    """Raise DigestMismatch unless the body hashes to what the client says."""
    if (actual := hasher.digest()) != expected.digest:
        raise DigestMismatch(expected.field, expected.digest.hex(), actual.hex())


def _new_hasher(algorithm: str) -> _Hasher:
    if algorithm == "blake3":
        return blake3()
    return hashlib.md5(usedforsecurity=False) if algorithm == "md5" else hashlib.sha256()
