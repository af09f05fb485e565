"""Bugs in storing, reading, deleting and collecting, and the table of all bugs."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from dynafs.causality import Context, Stamp
from dynafs.causality.version_set import join
from dynafs.coordinator.chunks import ChunkBytes, _ChunkRace
from dynafs.coordinator.commit import Committer
from dynafs.coordinator.listing import _Agreement
from dynafs.coordinator.quorum_write import QuorumWriter
from dynafs.coordinator.records import ReplicatedRecords
from dynafs.errors import DynafsError
from dynafs.files import Record, Version
from dynafs.healing.garbage_collection import GarbageCollector
from dynafs.healing.handoff import Handoff
from dynafs.healing.last_reference import LastReferenceCheck
from dynafs.healing.tombstones import TombstoneReaper
from dynafs.healing.upload_lookup import Upload, UploadLookup
from dynafs.jobs.tasks import note_failure
from dynafs.membership import RingRegister
from dynafs.membership.hedging import Hedges
from dynafs.ports import Answer, Hint, Reference
from dynafs.quorum import QuorumPolicy, QuorumWrite
from dynafs.quorum.read import RepairPlan
from dynafs.replica.fence import Fence
from dynafs.replica.stamps import StampSource
from dynafs.ring.paxos import Acceptor, Proposal
from dynafs.ring.view import RingView
from dynafs.storage.chunk_batch import ChunkBatch, ChunkWrite, MoveChunk
from dynafs.storage.chunks import ChunkTable
from dynafs.storage.disk import ChunkPlace
from dynafs.storage.records import RecordTable
from dynafs.storage.segments import SegmentFiles
from dynafs.storage.trees import TreeWrites
from dynafs.wire.context_token import MAC_SIZE_BYTES, ContextTokens
from dynafs.wire.messages import CommitVersion, ReadChunk, StoreRecord
from tests.sim.mutants.ring_plants import RING_PLANTS


def _sync_nothing(self: object) -> None:
    """Acknowledge before anything is on the medium."""


def _count_twice(self: QuorumWrite, node: str) -> None:
    """Take one node's word for two."""
    if node in self._waiting:
        del self._waiting[node]
        self.acked += [node, node]


async def _repair_nothing(
    self: ReplicatedRecords, key: bytes, plan: RepairPlan, held: QuorumWrite, view: RingView
) -> None:
    """Return what fewer than W owners hold."""


_next = StampSource.next


async def _stamp_from_the_clock(self: StampSource, above: int) -> Stamp:
    """Trust the wall clock to be later than what was read."""
    return await _next(self, above=0)


async def _delete_above_nothing(self: Committer, key: bytes, policy: QuorumPolicy) -> tuple[Record, Context | None]:
    """Stamp a tombstone without what was read to be deleted."""
    record = await self._reader.read(key, policy)
    return record, {}


def _believe_the_disk(self: ChunkTable, chunk_id: bytes, place: ChunkPlace, body: bytearray) -> bytearray:
    """Serve whatever was read."""
    return body


async def _believe_everybody(self: _ChunkRace, node: str) -> ChunkBytes:
    """Take whatever a peer sends."""
    if node == self._cluster.me:
        return await self._store.read_chunk(self._chunk_id)
    answer: Answer[Any] = await self._cluster.ask(node, ReadChunk(self._chunk_id), is_bulk=True)
    return answer.body


def _claim_everything(self: Fence | RingRegister, *_: object) -> None:
    """Let a node with an empty disk swear that nothing ever was."""


async def _carry_out_again(self: Committer, request: CommitVersion, body: bytes) -> Answer[Any]:
    """Commit as often as the request arrives."""
    return await self._serve(request, body)


async def _drop_the_last(self: LastReferenceCheck, dead: Sequence[Reference]) -> list[Reference]:
    """Take the references here for all there are."""
    return list(dead)


_ask_finder = UploadLookup._ask


async def _take_silence_for_no(self: UploadLookup, node: str, uploads: list[Upload]) -> list[Upload]:
    """Collect on the word of fewer than all who may know."""
    try:
        return await _ask_finder(self, node, uploads)
    except DynafsError:
        return []


_ask_last_look = LastReferenceCheck._ask


async def _take_silence_for_nothing(self: LastReferenceCheck, node: str, chunk_ids: Sequence[bytes]) -> list[Reference]:
    """Believe that an owner that does not answer knows no reference either."""
    try:
        return await _ask_last_look(self, node, chunk_ids)
    except DynafsError:
        return []


def _forget_other_references(self: ChunkBatch, chunk_id: bytes) -> Iterator[Reference]:
    """Let a chunk go with the first of its references."""
    return iter(())


_judge_collector = GarbageCollector._judge


async def _collect_at_once(self: GarbageCollector, due: list[Reference], still_dead: dict[Reference, float]) -> None:
    """Take nothing found once for nothing there."""
    self._grace_s = 0.0
    await _judge_collector(self, due, still_dead)


async def _hope_for_the_ack(self: Handoff, hint: Hint) -> bool:
    """Send what a hint is about and forget the hint, whatever comes of it."""
    data = self._store.read_record(hint.key)
    if not hint.chunk_id and data:
        self._cluster.ask(hint.target, StoreRecord(hint.key), data).add_done_callback(note_failure)
    return True


_objections = TombstoneReaper._objections
_reap = TombstoneReaper.reap


async def _object_only_when_asked(self: TombstoneReaper, node: str, digests: dict[bytes, bytes]) -> list[bytes]:
    """Forget a delete although an owner is away that has not heard of it."""
    self._grace_ms = 0.0
    return await _objections(self, node, digests) if self._cluster.is_up(node) else []


async def _reap_at_once(self: TombstoneReaper, keys: Sequence[bytes]) -> int:
    """Forget a delete as soon as it was heard of."""
    self._grace_ms = 0.0
    return await _reap(self, keys)


async def _serve_at_once(self: TombstoneReaper, body: bytes) -> Answer[Any]:
    """Agree to that."""
    self._grace_ms = 0.0
    return await _serve_reaping(self, body)


_serve_reaping = TombstoneReaper.serve

_stand_in_for = QuorumWriter._stand_in_for


def _count_stand_ins(self: QuorumWriter, owner: str) -> None:
    """Take a fallback's word for an owner's."""
    self._is_sloppy = True
    _stand_in_for(self, owner)


def _admit_all(self: Hedges, due_s: float) -> bool:
    """Send every late read to a further owner."""
    self.sent += 1
    self.refused += 1
    return True


def _replace_everything(self: Record, version: Version, seen: Context) -> Record:
    """Write over what the client never saw."""
    return Record.of(join(self.context, seen), [version])


def _believe_the_client(self: ContextTokens, file_key: bytes, text: str) -> dict[str, int]:
    """Take whatever a client says it has seen for seen."""
    token = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return msgspec.msgpack.decode(token[1 + MAC_SIZE_BYTES :], type=dict[str, int])


_commit_chunks = ChunkTable._commit_chunks


def _move_without_sync(self: ChunkTable, writes: Sequence[ChunkWrite]) -> None:
    """Take what was written anew for durable."""
    has_moves = any(isinstance(write, MoveChunk) for write in writes)
    if has_moves:
        vars(self._segments)["sync"] = lambda: None
    _commit_chunks(self, writes)
    if has_moves:
        del vars(self._segments)["sync"]


_sum_up = TreeWrites._xor


def _forget_some_leaves(self: TreeWrites, row: bytes, change: int) -> None:
    """Write something now and then, and leave its leaf as it was."""
    if change % 4:
        _sum_up(self, row, change)


_keep_ring = RingRegister.__init__


def _forget_votes(self: RingRegister, *arguments: Any) -> None:
    """Start without what was promised and accepted before."""
    _keep_ring(self, *arguments)
    self._acceptor = Acceptor(self.state.version + 1)


def _take_less_than_half(self: Proposal, nodes: set[str]) -> bool:
    """Decide with as many voters as the others may be, and more."""
    return 2 * len(nodes) >= len(self.voters) - 1


def _list_on_one_word(self: _Agreement, known: Mapping[str, Record]) -> Version | None:
    """List what a single owner lists."""
    newest = next((record.newest for record in known.values()), None)
    return newest if newest is not None and newest.is_file else None


#: {name: [(class, method, its replacement)]}
PLANTS: dict[str, list[tuple[type, str, Callable[..., Any]]]] = {
    "ack-before-fsync": [(SegmentFiles, "sync", _sync_nothing), (RecordTable, "_sync_index", _sync_nothing)],
    "one-node-counted-twice": [(QuorumWrite, "add_ack", _count_twice)],
    "read-without-repair": [(ReplicatedRecords, "_repair_now", _repair_nothing)],
    "stamp-not-raised": [(StampSource, "next", _stamp_from_the_clock)],
    "tombstone-not-raised": [(Committer, "read_to_replace", _delete_above_nothing)],
    "empty-disk-answers": [
        (Fence, "check_held", _claim_everything),
        (Fence, "check_all_held", _claim_everything),
        (RingRegister, "check_memory", _claim_everything),
    ],
    "commit-repeated": [(Committer, "serve", _carry_out_again)],
    "collected-on-silence": [
        (UploadLookup, "_ask", _take_silence_for_no),
        (LastReferenceCheck, "_ask", _take_silence_for_nothing),
    ],
    "last-reference-alone": [(LastReferenceCheck, "droppable", _drop_the_last)],
    "collected-without-grace": [(GarbageCollector, "_judge", _collect_at_once)],
    "reference-counted-twice": [(ChunkBatch, "_references_to", _forget_other_references)],
    "hint-removed-before-ack": [(Handoff, "_give", _hope_for_the_ack)],
    "tombstone-reaped-on-silence": [
        (TombstoneReaper, "reap", _reap_at_once),
        (TombstoneReaper, "serve", _serve_at_once),
        (TombstoneReaper, "_objections", _object_only_when_asked),
    ],
    "tombstone-reaped-early": [(TombstoneReaper, "reap", _reap_at_once), (TombstoneReaper, "serve", _serve_at_once)],
    "source-removed-unsynced": [(ChunkTable, "_commit_chunks", _move_without_sync)],
    "vote-forgotten": [(RingRegister, "__init__", _forget_votes)],
    "minority-decides": [(Proposal, "_is_majority", _take_less_than_half)],
    "leaf-not-updated": [(TreeWrites, "_xor", _forget_some_leaves)],
    "fallback-counted-for-strong": [(QuorumWriter, "_stand_in_for", _count_stand_ins)],
    "hedges-without-budget": [(Hedges, "admit", _admit_all)],
    "sibling-replaced-unseen": [(Record, "with_sibling", _replace_everything)],
    "client-context-trusted": [(ContextTokens, "read", _believe_the_client)],
    "listed-by-one-owner": [(_Agreement, "of_some", _list_on_one_word)],
    "hash-not-verified": [(ChunkTable, "_verified", _believe_the_disk), (_ChunkRace, "_read_at", _believe_everybody)],
    **RING_PLANTS,
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Run with a bug, or with none."""
    places = PLANTS[name] if name else []
    originals = [(owner, method, getattr(owner, method)) for owner, method, _ in places]
    for owner, method, replacement in places:
        setattr(owner, method, replacement)
    try:
        yield
    finally:
        for owner, method, original in originals:
            setattr(owner, method, original)
