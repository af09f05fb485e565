"""Committing a version: the moment a write becomes visible."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from dynafs.causality import Context, Stamp
from dynafs.causality.version_set import join
from dynafs.coordinator.quorum_write import sloppy_run, store_at
from dynafs.coordinator.records import ReplicatedRecords
from dynafs.errors import (
    DynafsError,
    Overloaded,
    PeerError,
    PeerOutdated,
    PeerOverloaded,
    PeerRefused,
    PeerUnreachable,
    ReadQuorumLost,
    RequestTooLarge,
    RingBehind,
    RingOutdated,
    TooManyActors,
    TooManySiblings,
    WriteQuorumLost,
    failure_code,
)
from dynafs.files.version import EMPTY, Record, Version
from dynafs.jobs.tasks import note_failure
from dynafs.jobs.throttle import Throttle
from dynafs.membership.cluster import VIEWS_MAX, Cluster
from dynafs.observe import metrics
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Clock, Store
from dynafs.quorum import QuorumPolicy, QuorumWrite, Verdict
from dynafs.replica.actors import ActorNames
from dynafs.replica.stamps import StampSource
from dynafs.ring import file_hash
from dynafs.ring.view import RingView
from dynafs.storage.stored import stored_record
from dynafs.wire.messages import CommitReply, CommitVersion, StoreRecord
from dynafs.wire.records import decode_version, encode_record, encode_version

COMMIT_ID_SIZE_BYTES = 16
#: Commits for gateways that are remembered, so that a request that arrives again is not carried out again.
REMEMBERED_MAX = 4096
#: Versions that may stand beside each other; then somebody has to resolve them.
SIBLINGS_MAX = 32
#: Stamps tried while others write the same file in between.
STAMP_ATTEMPTS_MAX = 8
#: By these a node says that it did not begin a commit, and a call fails before anything was sent.
NOT_TRIED = (RingOutdated.code, RingBehind.code, TooManyActors.code)
NOT_SENT = (RequestTooLarge, PeerOverloaded, PeerOutdated)
#: Stands in a version until the commit stamps it.
UNSTAMPED = Stamp(0, "")


class Receipt(NamedTuple):
    """A confirmed write: its version, and the nodes that held it durably at that moment."""

    version: Version
    stored_on: list[str]


class Committer:
    """Coordinates commits of files this node owns a copy of, and forwards the others to an owner."""

    def __init__(
        self,
        cluster: Cluster,
        reader: ReplicatedRecords,
        store: Store,
        stamps: StampSource,
        clock: Clock,
        throttle: Throttle,
    ) -> None:
        self._cluster, self._reader, self._store = cluster, reader, store
        self._stamps, self._clock, self._throttle = stamps, clock, throttle
        self._actors = ActorNames()
        #: {commit id: the commit}, the oldest first
        self._served: OrderedDict[bytes, asyncio.Task[Answer[CommitReply]]] = OrderedDict()

    def register(self, dispatcher: Dispatcher) -> None:
        """Coordinate commits for gateways that own no copy."""
        dispatcher.register(CommitVersion, lambda _, request, body: self.serve(request, bytes(body)))

    def coordinates(self, key: bytes, policy: QuorumPolicy) -> bool:
        """Return whether this node coordinates writes of the file itself: as an owner, or standing in for one."""
        return self._cluster.me in self._coordinators(file_hash(key), policy)

    def _coordinators(self, place: bytes, policy: QuorumPolicy) -> Sequence[str]:
        if policy.is_available:
            return [node for node, _ in self._cluster.standing(place)]
        return self._cluster.owners(place)

    def begin_context(self, key: bytes, policy: QuorumPolicy) -> "asyncio.Task[dict[str, int]] | None":
        """Start learning what a write must stand above, while its body still streams; None when an owner will do it."""
        return asyncio.create_task(self._read_context(key, policy)) if self.coordinates(key, policy) else None

    async def _read_context(self, key: bytes, policy: QuorumPolicy) -> dict[str, int]:
        return await self._reader.read_context(key, policy, self._stamps.wall_ms())

    async def read_to_replace(self, key: bytes, policy: QuorumPolicy) -> tuple[Record, Context | None]:
        """Return the file's record, and the context of a commit that follows if that is learned with it."""
        wall_ms = self._stamps.wall_ms() if self.coordinates(key, policy) else 0
        return await self._reader.read_to_replace(key, policy, wall_ms)

    async def commit(
        self,
        key: bytes,
        draft: Version,
        policy: QuorumPolicy,
        context: Awaitable[Context] | Context | None = None,
        seen: Context | None = None,
        *,
        is_asked: bool = False,
    ) -> Receipt:
        """Make the draft the newest version of the file. Raises WriteQuorumLost, with the outcome "not_written" before
        the record was offered to any node, "unknown" after.

        seen: what the client had seen of the file; a draft that keeps both replaces only that. is_asked: by a node that
        thinks that it is this one's turn.
        """
        if not (is_asked or self.coordinates(key, policy)):
            return await self._forward(key, draft, policy, seen)
        try:
            if context is None:
                context = self._read_context(key, policy)
            known = await context if isinstance(context, Awaitable) else context
        except ReadQuorumLost as error:
            raise WriteQuorumLost(error.needed, error.answered, error.failures, "not_written") from error
        if policy.is_available:
            try:
                return await self._commit_available(key, draft, policy, known, seen)
            except TooManyActors:
                if is_asked:
                    raise
                return await self._forward(key, draft, policy, seen, is_tried=True)
        stamp = await self._stamps.next(above=max(known.values(), default=0))
        version = msgspec.structs.replace(draft, stamp=stamp)
        data = encode_record(Record.of(known, [version]))
        place = file_hash(key)
        started_s = self._cluster.loop.time()

        async def store(view: RingView) -> Receipt:
            fold = QuorumWrite(policy.w, *view.writers(place))
            request = StoreRecord(key, ring_version=view.version)
            return _receipt(version, await store_at(self._cluster, request, data, fold, partial(view.fallbacks, place)))

        receipt = await self._cluster.in_view(store)
        self._throttle.add("write", self._cluster.loop.time() - started_s)
        return receipt

    async def _commit_available(
        self, key: bytes, draft: Version, policy: QuorumPolicy, known: Context, seen: Context | None
    ) -> Receipt:
        """Store at any W nodes that are up, this one among them.

        Between looking at what is held here and offering the new record to this node nothing may come in between: the
        record covers all that this actor ever wrote of the file.
        """
        place = file_hash(key)
        if draft.keeps_both:
            others = await self._read_others(key, policy)
            stamp, held = await self._stamp_above(key, join(known, seen or {}), others)
            beside = held.unseen(draft, seen or {})
            if len(beside) >= max(SIBLINGS_MAX, len(held.versions)):
                raise TooManySiblings(SIBLINGS_MAX)
            is_owner = self._cluster.me in self._cluster.owners(place)
            stamp = self._actors.name(key, stamp, held.context, is_owner=is_owner)
            version = msgspec.structs.replace(draft, stamp=stamp)
            record = held.with_sibling(version, seen or {}).resolved()
        else:
            # What this actor wrote before, seen here or not, has a smaller stamp: it loses whether covered or not.
            stamp, held = await self._stamp_above(key, join(known, seen or {}), EMPTY)
            version = msgspec.structs.replace(draft, stamp=stamp)
            record = Record.of(join(known, held.context), [version])
        fold = await sloppy_run(self._cluster, place, StoreRecord(key), encode_record(record), policy.w).run()
        return _receipt(version, fold)

    async def _read_others(self, key: bytes, policy: QuorumPolicy) -> Record:
        """Return what other nodes hold of a file when this one no longer holds what it wrote last, so that it need not
        take another name; the empty record when that cannot be read, or need not be."""
        if self._actors.is_covered(key, stored_record(self._store.latest_record(key)).context):
            return EMPTY
        try:
            return await self._reader.read(key, policy)
        except DynafsError:
            return EMPTY

    async def _stamp_above(self, key: bytes, known: Context, others: Record) -> tuple[Stamp, Record]:
        """Return a stamp above what is known and held, and what is held here, of this moment, and by others: what the
        new version replaces must not bear a greater stamp than it."""
        above = max(known.values(), default=0)
        for _ in range(STAMP_ATTEMPTS_MAX):
            stamp = await self._stamps.next(above=above)
            held = stored_record(self._store.latest_record(key))
            if others.context:
                held = held.merge(others)
            if held.time_max < stamp.time:
                return stamp, held
            above = held.time_max
        raise Overloaded("the file is being written faster than a version can be stamped")

    async def _forward(
        self, key: bytes, draft: Version, policy: QuorumPolicy, seen: Context | None, *, is_tried: bool = False
    ) -> Receipt:
        """Let the first reachable owner commit; when some say that others own it by now, learn that and ask those.

        is_tried: this node cannot, for it has no name for it.
        """
        for _ in range(VIEWS_MAX):
            view, failures = self._cluster.view, {self._cluster.me: TooManyActors.code} if is_tried else {}
            receipt, is_open = await self._offer(key, draft, policy, seen, failures)
            if receipt is not None:
                return receipt
            knowing = [node for node, code in failures.items() if code == RingOutdated.code]
            if is_open or not knowing:
                break
            await self._cluster.catch_up(knowing)
            if self._cluster.view is view:
                break
        raise WriteQuorumLost(policy.w, [], failures, "unknown" if is_open else "not_written")

    async def _offer(
        self, key: bytes, draft: Version, policy: QuorumPolicy, seen: Context | None, failures: dict[str, str]
    ) -> tuple[Receipt | None, bool]:
        """Ask owner after owner to commit, as long as the one before certainly did not.

        Returns the receipt, None when nobody did; and whether somebody may have. Raises WriteQuorumLost when one tried.
        """
        commit_id = self._clock.random_bytes(COMMIT_ID_SIZE_BYTES)
        known = None if seen is None else dict(seen)
        version = self._cluster.view.version
        request = CommitVersion(key, policy.r, policy.w, commit_id, policy.is_available, known, version)
        body, owners = encode_version(draft), self._coordinators(file_hash(key), policy)
        untried = [owner for owner in owners if owner not in failures]
        for node in sorted(untried, key=lambda owner: not self._cluster.membership.is_up(owner)):
            try:
                answer = await self._cluster.ask(node, request, body, timeout_s=2 * self._cluster.timeout_s)
            except PeerRefused as error:
                failures[node] = error.remote_code
                if error.remote_code not in NOT_TRIED:
                    raise _remote_error(error, policy) from error
            except PeerError as error:
                failures[node] = error.code
                if not isinstance(error, NOT_SENT) and (not isinstance(error, PeerUnreachable) or error.is_sent):
                    return None, True
            else:
                stamped = msgspec.structs.replace(draft, stamp=Stamp(*answer.message.stamp))
                return Receipt(stamped, answer.message.stored_on), False
        return None, False

    async def serve(self, request: CommitVersion, body: bytes) -> Answer[CommitReply]:
        """Coordinate a commit for a gateway, once however often it is asked for."""
        task = self._served.get(request.commit_id)
        if task is None:
            task = asyncio.create_task(self._serve(request, body))
            if request.commit_id:
                self._served[request.commit_id] = task
                task.add_done_callback(note_failure)
                if len(self._served) > REMEMBERED_MAX:
                    self._served.popitem(last=False)
        return await asyncio.shield(task)

    async def _serve(self, request: CommitVersion, body: bytes) -> Answer[CommitReply]:
        policy = QuorumPolicy(self._cluster.view.n, request.r, request.w, request.is_available)
        policy.check()
        place = file_hash(request.key)
        if self._cluster.me not in (
            self._cluster.keepers(place) if policy.is_available else self._cluster.owners(place)
        ):
            known = self._cluster.view.version
            raise (RingOutdated if request.ring_version < known else RingBehind)(
                f"asked to commit a file this node owns no copy of by version {known} of the ring", version=known
            )
        receipt = await self.commit(request.key, decode_version(body), policy, seen=request.seen, is_asked=True)
        return Answer(CommitReply(receipt.version.stamp, receipt.stored_on))


def _receipt(version: Version, fold: QuorumWrite) -> Receipt:
    """Return what the writer is told at the verdict. Raises WriteQuorumLost."""
    if fold.verdict is not Verdict.MET:
        metrics.quorum_lost.labels("write").inc()
        raise WriteQuorumLost(fold.w, fold.acked, fold.failed)
    return Receipt(version, list(fold.acked))


def _remote_error(error: PeerRefused, policy: QuorumPolicy) -> DynafsError:
    """Return the coordinator's error as our own; one that is not known here leaves the outcome open."""
    told = error.remote
    if error.remote_code == TooManySiblings.code:
        return TooManySiblings(SIBLINGS_MAX)
    failures, answered = told.get("failures"), told.get("answered")
    if error.remote_code == WriteQuorumLost.code and isinstance(failures, dict) and isinstance(answered, list):
        return WriteQuorumLost(policy.w, answered, failures, str(told.get("outcome", "unknown")))
    return WriteQuorumLost(policy.w, [], {error.node: failure_code(error)})
