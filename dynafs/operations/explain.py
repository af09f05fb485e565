"""Explaining one file: who should have it, who has what of it, why, and what will happen next by itself."""

import asyncio
from collections.abc import Sequence

import msgspec

from dynafs.coordinator.files import FileReader
from dynafs.coordinator.references import all_chunk_ids
from dynafs.errors import DynafsError, failure_code
from dynafs.files import FileName, Record
from dynafs.files.version import EMPTY
from dynafs.membership.cluster import Cluster
from dynafs.operations.copies import CopyInspector
from dynafs.quorum import QuorumPolicy
from dynafs.ring import file_hash, partition_of
from dynafs.wire.messages import CountHints, ReadRecord
from dynafs.wire.records import decode_record

#: Bad copies of chunks that are named; all are counted.
NAMED_MAX = 50


class NodeView(msgspec.Struct):
    """One node and the file. role: "owner" or "fallback". state: "current", "stale", "missing", "nothing" for a
    fallback without a copy, or the code of why it cannot say. keeps_for: {owner: things kept for it}."""

    node: str
    role: str
    is_up: bool
    state: str
    versions: list[str] = []
    keeps_for: dict[str, int] = {}


class BadCopy(msgspec.Struct):
    """A chunk that an owner cannot show."""

    chunk: str
    node: str
    state: str


class Explanation(msgspec.Struct):
    """chunk_copies: {state: how many copies}. next_steps: sentences."""

    bucket: str
    path: str
    partition: int
    nodes: list[NodeView] = []
    versions: list[str] = []
    deleted: bool = False
    chunk_count: int = 0
    chunk_copies: dict[str, int] = {}
    bad_copies: list[BadCopy] = []
    next_steps: list[str] = []


class Explainer:
    """Looks at one file on all nodes that may have something of it, and changes nothing."""

    def __init__(self, cluster: Cluster, files: FileReader, inspector: CopyInspector) -> None:
        self._cluster, self._files, self._inspector = cluster, files, inspector

    async def explain(self, name: FileName, policy: QuorumPolicy) -> Explanation:
        """Return all there is to know. Never raises because nodes are away."""
        place = file_hash(name.key)
        keepers = self._cluster.keepers(place)
        records = await asyncio.gather(*(self._record(node, name.key) for node in keepers))
        kept = await asyncio.gather(*(self._kept(node, name.key) for node in keepers))
        merged = EMPTY
        for record in records:
            merged = merged.merge(record) if isinstance(record, Record) else merged
        merged = merged.resolved()
        partition = partition_of(place, self._cluster.ring.partition_count)
        told = Explanation(name.bucket, name.path, partition, versions=[str(stamp) for stamp in merged.stamps])
        told.deleted = bool(merged.versions) and not merged.files
        owners = self._cluster.owners(place)
        for node, record, keeps_for in zip(keepers, records, kept, strict=True):
            view = NodeView(node, "owner" if node in owners else "fallback", self._cluster.is_up(node), "")
            view.state = record if isinstance(record, str) else _state(record, merged, is_owner=node in owners)
            view.versions = [] if isinstance(record, str) else [str(stamp) for stamp in record.stamps]
            view.keeps_for = keeps_for
            told.nodes.append(view)
        await self._look_at_chunks(name, merged, told)
        told.next_steps = list(_next_steps(told, policy, len(merged.files)))
        return told

    async def _record(self, node: str, key: bytes) -> Record | str:
        try:
            return decode_record((await self._cluster.ask(node, ReadRecord(key, whole=True))).body)
        except DynafsError as error:
            return failure_code(error)

    async def _kept(self, node: str, key: bytes) -> dict[str, int]:
        try:
            answer = await self._cluster.ask(node, CountHints(key))
        except DynafsError:
            return {}
        return {target: count for target, (count, _, _) in answer.message.targets.items()}

    async def _look_at_chunks(self, name: FileName, merged: Record, told: Explanation) -> None:
        for version in merged.files:
            try:
                async for ids in all_chunk_ids(self._files, name.key, version):
                    await self._count(ids, told)
            except DynafsError as error:
                told.bad_copies.append(BadCopy("manifest", "all", error.message))

    async def _count(self, ids: Sequence[bytes], told: Explanation) -> None:
        for one in await self._inspector.whereabouts(ids):
            told.chunk_count += 1
            for node, state in one.copies.items():
                told.chunk_copies[state] = told.chunk_copies.get(state, 0) + 1
                if state != "present" and len(told.bad_copies) < NAMED_MAX:
                    told.bad_copies.append(BadCopy(one.chunk_id.hex(), node, state))


def _state(record: Record, merged: Record, *, is_owner: bool) -> str:
    if not record.versions:
        return "missing" if is_owner and merged.versions else "nothing"
    return "current" if record.stamps == merged.stamps else "stale"


def _next_steps(told: Explanation, policy: QuorumPolicy, files: int) -> list[str]:
    """Say what repair will do, and what it cannot."""
    owners = [view for view in told.nodes if view.role == "owner"]
    steps = []
    answering = sum(view.state in ("current", "stale", "missing", "nothing") for view in owners)
    if answering < policy.r and not policy.is_available:
        steps.append(f"{answering} of {len(owners)} owners answer, reads need {policy.r}: they are refused for now.")
    for view in owners:
        keepers = [one.node for one in told.nodes if view.node in one.keeps_for]
        if not view.is_up:
            kept = (
                f"{', '.join(keepers)} hand over what they keep for it"
                if keepers
                else "anti-entropy brings it up to date"
            )
            steps.append(f"{view.node} is away: {kept} when it is back.")
        elif view.state in ("stale", "missing"):
            steps.append(f"{view.node} is behind: the next read, or anti-entropy, brings it up to date.")
        elif keepers:
            steps.append(f"{', '.join(keepers)} hand over to {view.node} now.")
    lacking = dict.fromkeys(bad.node for bad in told.bad_copies if bad.state in ("missing", "quarantined"))
    steps += [f"{node} lacks good copies of chunks: the next read, or anti-entropy, mends that." for node in lacking]
    if files > 1:
        steps.append(f"{files} versions stand beside each other until one is written with the context of a GET.")
    if told.deleted:
        steps.append("the delete is forgotten when its grace is over and every owner holds it.")
    return steps or ["nothing: all owners hold all of it." if told.versions else "nothing: no node knows such a file."]
