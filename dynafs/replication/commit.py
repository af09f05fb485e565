"""Committing a version: the moment a write becomes visible."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from typing import NamedTuple

import msgspec

from dynafs.causality import Context, Stamp
from dynafs.errors import DynafsError, PeerError, PeerRefused, PeerUnreachable, ReadQuorumLost, WriteQuorumLost
from dynafs.files.version import Record, Version
from dynafs.observe import metrics
from dynafs.ports import Answer, Clock
from dynafs.quorum import QuorumPolicy, Verdict
from dynafs.replication.background import note_failure
from dynafs.replication.reach import Reach, failure_code
from dynafs.replication.records import RecordReader
from dynafs.replication.stamps import StampSource
from dynafs.replication.writing import store_at
from dynafs.ring import file_hash
from dynafs.wire.messages import CommitReply, CommitVersion, StoreRecord
from dynafs.wire.records import decode_version, encode_record, encode_version

COMMIT_ID_SIZE_BYTES = 16
#: Commits for gateways that are remembered, so that a request that arrives again is not carried out again.
REMEMBERED_MAX = 4096
#: Stands in a version until the commit stamps it.
UNSTAMPED = Stamp(0, "")


class Receipt(NamedTuple):
    """A confirmed write: its version, and the nodes that held it durably at that moment."""

    version: Version
    stored_on: list[str]


class Committer:
    """Coordinates commits of files this node owns a copy of, and forwards the others to an owner."""

    def __init__(self, reach: Reach, reader: RecordReader, stamps: StampSource, clock: Clock) -> None:
        self._reach, self._reader, self._stamps, self._clock = reach, reader, stamps, clock
        #: {commit id: the commit}, the oldest first
        self._served: OrderedDict[bytes, asyncio.Task[Answer]] = OrderedDict()

    def is_owner(self, key: bytes) -> bool:
        """Return whether this node coordinates writes of the file itself."""
        return self._reach.me in self._reach.owners(file_hash(key))

    def begin_context(self, key: bytes, policy: QuorumPolicy) -> "asyncio.Task[dict[str, int]] | None":
        """Start learning what a write must stand above, while its body still streams; None when an owner will do it."""
        return asyncio.create_task(self._read_context(key, policy)) if self.is_owner(key) else None

    async def _read_context(self, key: bytes, policy: QuorumPolicy) -> dict[str, int]:
        return await self._reader.read_context(key, policy, self._stamps.wall_ms())

    async def commit(
        self, key: bytes, draft: Version, policy: QuorumPolicy, context: Awaitable[Context] | None = None
    ) -> Receipt:
        """Make the draft the newest version of the file. Raises WriteQuorumLost, with the outcome "not_written" before
        the record was offered to any node, "unknown" after."""
        if not self.is_owner(key):
            return await self._forward(key, draft, policy)
        try:
            seen = await (context if context is not None else self._read_context(key, policy))
        except ReadQuorumLost as error:
            raise WriteQuorumLost(error.needed, error.answered, error.failures, "not_written") from error
        stamp = await self._stamps.next(above=max(seen.values(), default=0))
        version = msgspec.structs.replace(draft, stamp=stamp)
        data = encode_record(Record.of(seen, [version]))
        place = file_hash(key)
        owners, fallbacks = self._reach.owners(place), self._reach.fallbacks(place)
        fold = await store_at(self._reach, StoreRecord(key), data, owners, policy.w, fallbacks)
        if fold.verdict is not Verdict.MET:
            metrics.quorum_lost.labels("write").inc()
            raise WriteQuorumLost(policy.w, fold.acked, fold.failed)
        return Receipt(version, list(fold.acked))

    async def _forward(self, key: bytes, draft: Version, policy: QuorumPolicy) -> Receipt:
        """Let the first reachable owner commit. Only one that certainly never got the request is passed over."""
        failures: dict[str, str] = {}
        commit_id = self._clock.random_bytes(COMMIT_ID_SIZE_BYTES)
        request, body = CommitVersion(key, policy.r, policy.w, commit_id), encode_version(draft)
        owners = self._reach.owners(file_hash(key))
        for node in sorted(owners, key=lambda owner: not self._reach.membership.is_up(owner)):
            try:
                answer = await self._reach.ask(node, request, body, timeout_s=2 * self._reach.timeout_s)
            except PeerUnreachable as error:
                failures[node] = error.code
                if error.is_sent:
                    break
            except PeerRefused as error:
                raise _remote_error(error, policy) from error
            except PeerError as error:
                failures[node] = error.code
                break
            else:
                assert isinstance(answer.message, CommitReply)
                version = msgspec.structs.replace(draft, stamp=Stamp(*answer.message.stamp))
                return Receipt(version, answer.message.stored_on)
        outcome = "not_written" if len(failures) == len(owners) else "unknown"
        raise WriteQuorumLost(policy.w, [], failures, outcome)

    async def serve(self, request: CommitVersion, body: bytes) -> Answer:
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

    async def _serve(self, request: CommitVersion, body: bytes) -> Answer:
        if not self.is_owner(request.key):
            raise DynafsError("asked to commit a file this node owns no copy of")
        policy = QuorumPolicy(self._reach.ring.n, request.r, request.w)
        policy.check()
        receipt = await self.commit(request.key, decode_version(body), policy)
        return Answer(CommitReply(receipt.version.stamp, receipt.stored_on))


def _remote_error(error: PeerRefused, policy: QuorumPolicy) -> DynafsError:
    """Return the coordinator's quorum error as our own; any other refusal leaves the outcome open."""
    told = error.remote
    failures, answered = told.get("failures"), told.get("answered")
    if error.remote_code == WriteQuorumLost.code and isinstance(failures, dict) and isinstance(answered, list):
        return WriteQuorumLost(policy.w, answered, failures, str(told.get("outcome", "unknown")))
    return WriteQuorumLost(policy.w, [], {error.node: failure_code(error)})
