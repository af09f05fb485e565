"""Standing: at which nodes an upload is a version of its file, which is all that keeps its chunks in use."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from dynafs.errors import DynafsError
from dynafs.membership.cluster import Cluster
from dynafs.ring import file_hash
from dynafs.wire.messages import FindUploads
from dynafs.wire.rows import ROWS_MAX

#: (key of the file, upload id)
Upload = tuple[bytes, bytes]


class Found(NamedTuple):
    """What nodes know of uploads."""

    #: {upload: nodes where a version of it stands}
    holders: dict[Upload, list[str]]
    #: uploads of which a node that was asked has not told
    unsure: set[Upload]


class UploadLookup:
    """Asks other nodes, and this one, for uploads, on behalf of a job."""

    def __init__(self, cluster: Cluster, note: Callable[[DynafsError], None]) -> None:
        """note: told why a node has not answered."""
        self._cluster, self._note = cluster, note

    async def find(self, uploads: Iterable[Upload], nodes_of: Callable[[bytes], Sequence[str]]) -> Found:
        """Ask, all at once, the nodes that `nodes_of` gives for the hash of each upload's key."""
        found = Found({upload: [] for upload in uploads}, set())
        asked: dict[str, list[Upload]] = {}
        for upload in found.holders:
            for node in nodes_of(file_hash(upload[0])):
                asked.setdefault(node, []).append(upload)
        questions = [
            (node, its[start : start + ROWS_MAX])
            for node, its in asked.items()
            for start in range(0, len(its), ROWS_MAX)
        ]
        await asyncio.gather(*(self._learn(node, some, found) for node, some in questions))
        return found

    async def _learn(self, node: str, uploads: list[Upload], found: Found) -> None:
        try:
            standing = await self._ask(node, uploads)
        except DynafsError as error:
            self._note(error)
            found.unsure.update(uploads)
        else:
            for upload in standing:
                found.holders[upload].append(node)

    async def _ask(self, node: str, uploads: list[Upload]) -> list[Upload]:
        answer = await self._cluster.ask(node, FindUploads(), msgspec.msgpack.encode(uploads))
        return [uploads[row] for row in answer.message.rows if 0 <= row < len(uploads)]
