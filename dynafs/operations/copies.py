"""Looking at one file: which nodes own it, who holds which record, where every chunk lies and in what state."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from dynafs.errors import DynafsError, failure_code
from dynafs.files import FileName, Version
from dynafs.membership.cluster import Cluster
from dynafs.ring import file_hash
from dynafs.wire.messages import CountHints, ReadRecord, StatChunks
from dynafs.wire.records import decode_record
from dynafs.wire.replies import states_of


class ChunkWhereabouts(NamedTuple):
    """One chunk. copies: {owner: "present", "missing", "quarantined", or the code of why it cannot say}."""

    chunk_id: bytes
    copies: dict[str, str]


class CopyInspector:
    """Answers questions about single files without changing anything."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def holders(self, name: FileName, version: Version) -> dict[str, str]:
        """Return {owner: "current", "stale", "missing", or the code of why it cannot say} for a file's record."""
        owners = self._cluster.owners(file_hash(name.key))
        asked = [self._cluster.ask(node, ReadRecord(name.key, whole=True)) for node in owners]
        states = {}
        for node, answer in zip(owners, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(answer, BaseException):
                states[node] = failure_code(answer)
                continue
            held = decode_record(answer.body).newest
            states[node] = "missing" if held is None else "current" if held.stamp == version.stamp else "stale"
        return states

    async def hints(self) -> dict[str, dict[str, tuple[int, int, int]] | str]:
        """Return {keeper: {target: (count, bytes, since ms)}} of all nodes, or {keeper: why it cannot say}."""
        nodes = [self._cluster.me, *self._cluster.others]
        asked = [self._cluster.ask(node, CountHints()) for node in nodes]
        found: dict[str, dict[str, tuple[int, int, int]] | str] = {}
        for node, answer in zip(nodes, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(answer, BaseException):
                found[node] = failure_code(answer)
            else:
                found[node] = answer.message.targets
        return found

    async def whereabouts(self, chunk_ids: Sequence[bytes]) -> list[ChunkWhereabouts]:
        """Return where these chunks lie; at most 1024 of them."""
        wanted: dict[str, list[bytes]] = {}
        for chunk_id in chunk_ids:
            for node in self._cluster.owners(chunk_id):
                wanted.setdefault(node, []).append(chunk_id)
        answers = await asyncio.gather(*(self._states(node, ids) for node, ids in wanted.items()))
        states = dict(zip(wanted, answers, strict=True))
        return [
            ChunkWhereabouts(chunk_id, {node: states[node][chunk_id] for node in self._cluster.owners(chunk_id)})
            for chunk_id in chunk_ids
        ]

    async def _states(self, node: str, chunk_ids: list[bytes]) -> dict[bytes, str]:
        try:
            answer = await self._cluster.ask(node, StatChunks(b"".join(chunk_ids)))
        except DynafsError as error:
            return dict.fromkeys(chunk_ids, failure_code(error))
        return dict(zip(chunk_ids, states_of(answer.message, len(chunk_ids)), strict=True))
