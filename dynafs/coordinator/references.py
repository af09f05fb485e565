"""References: what says which chunks are still in use, and who is told when one no longer is.

A chunk's owner keeps it as long as some upload refers to it. Whoever replaces or gives up an upload tells the owners of
its chunks, so that they look soon; that is a hint and never a decision (`healing.garbage_collection` decides).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from dynafs.coordinator.files import FileReader
from dynafs.errors import DynafsError, WriteQuorumLost, failure_code
from dynafs.files import FileName, Version
from dynafs.files.manifest import PAGE_CHUNKS, chunk_count
from dynafs.jobs.tasks import BoundedTasks
from dynafs.membership.cluster import Cluster
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import reporting
from dynafs.quorum import QuorumPolicy, QuorumWrite, Verdict
from dynafs.ring import file_hash
from dynafs.wire.messages import ConfirmReferences, ReleaseReferences
from dynafs.wire.replies import states_of

log = get_logger()

#: Replaced and abandoned uploads whose chunk owners are still to be told; more are left to age.
RELEASES_MAX = 65_536
RELEASED_IDS_MAX = 1_000_000


class _Release(NamedTuple):
    """chunk_ids: None when the version's manifest lists them."""

    key: bytes
    upload_id: bytes
    chunk_ids: tuple[bytes, ...] | None
    version: Version | None = None


class ReferenceNotifier:
    """Tells the owners of chunks what became of the uploads that use them."""

    def __init__(self, cluster: Cluster, files: FileReader) -> None:
        self._cluster, self._files = cluster, files
        self._waiting: deque[_Release] = deque()
        self._waiting_ids = 0
        self.work = BoundedTasks("release of references", 1)

    def replaced(self, key: bytes, versions: Iterable[Version]) -> None:
        """Versions of a file were replaced here. The first owner that is up passes that on."""
        if self._cluster.first_up(file_hash(key)) != self._cluster.me:
            return
        for version in versions:
            if version.manifest is not None:
                ids = None if version.manifest.paged else version.manifest.listed()
                self._enqueue(_Release(key, version.upload_id, ids, version))

    def abandoned(self, key: bytes, upload_id: bytes, chunk_ids: Sequence[bytes]) -> None:
        """An upload ended before its record was offered to anybody."""
        if chunk_ids:
            self._enqueue(_Release(key, upload_id, tuple(chunk_ids)))

    def _enqueue(self, release: _Release) -> None:
        count = len(release.chunk_ids or ())
        if len(self._waiting) >= RELEASES_MAX or self._waiting_ids + count > RELEASED_IDS_MAX:
            return
        self._waiting.append(release)
        self._waiting_ids += count
        if not self.work.is_full:
            self.work.begin(self._drain())

    async def _drain(self) -> None:
        while self._waiting:
            release = self._waiting.popleft()
            self._waiting_ids -= len(release.chunk_ids or ())
            with reporting("release of references"):
                await self._try(release)

    async def _try(self, release: _Release) -> None:
        try:
            await self._send(release)
        except DynafsError as error:
            log.debug("reference.release_failed", code=failure_code(error))

    async def _send(self, release: _Release) -> None:
        if release.chunk_ids is not None:
            await self._tell_owners(release.upload_id, release.chunk_ids)
            return
        assert release.version is not None
        async for ids in all_chunk_ids(self._files, release.key, release.version):
            await self._tell_owners(release.upload_id, ids)

    async def _tell_owners(self, upload_id: bytes, ids: Sequence[bytes]) -> None:
        asked = [
            self._cluster.ask(node, ReleaseReferences(b"".join(some), upload_id))
            for node, some in by_owner(self._cluster, ids)
        ]
        await asyncio.gather(*asked, return_exceptions=True)

    async def renew(self, key: bytes, upload_id: bytes, ids: Sequence[bytes], policy: QuorumPolicy) -> None:
        """Make an upload's references as good as new, at W owners of each chunk.

        Raises WriteQuorumLost when that many no longer have it: an upload that took too long.
        """
        nodes_of = self._cluster.keepers if policy.is_available else self._cluster.owners
        folds = {chunk_id: QuorumWrite(policy.w, nodes_of(chunk_id)) for chunk_id in ids}
        for node, some in _by_node(nodes_of, list(folds)):
            for chunk_id, state in zip(some, await self._states(node, some, upload_id, key), strict=True):
                if state == "present":
                    folds[chunk_id].add_ack(node)
                else:
                    folds[chunk_id].add_failure(node, state)
        for fold in folds.values():
            if fold.verdict is not Verdict.MET:
                raise WriteQuorumLost(policy.w, fold.acked, fold.failed, outcome="not_written")

    async def _states(self, node: str, ids: Sequence[bytes], upload_id: bytes, key: bytes) -> list[str]:
        request = ConfirmReferences(b"".join(ids), upload_id, key, is_upload=True)
        try:
            answer = await self._cluster.ask(node, request)
        except DynafsError as error:
            return [failure_code(error)] * len(ids)
        return states_of(answer.message, len(ids))


async def all_chunk_ids(files: FileReader, key: bytes, version: Version) -> AsyncIterator[tuple[bytes, ...]]:
    """Yield the ids of everything a version keeps in chunks, at most 1024 at a time: its chunks and manifest pages."""
    manifest = version.manifest
    if manifest is None:
        return
    yield manifest.listed()
    if manifest.paged:
        name = FileName.from_key(key)
        for start in range(0, chunk_count(version.size_bytes, manifest.chunk_size_bytes), PAGE_CHUNKS):
            yield await files.chunk_ids(name, version, start, start + PAGE_CHUNKS)


def by_owner(cluster: Cluster, ids: Sequence[bytes]) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """Return (owner, some of the ids it owns), as many as one message takes."""
    return _by_node(cluster.owners, ids)


def _by_node(
    nodes_of: Callable[[bytes], Sequence[str]], ids: Sequence[bytes]
) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    wanted: dict[str, dict[bytes, None]] = {}
    for chunk_id in ids:
        for node in nodes_of(chunk_id):
            wanted.setdefault(node, {})[chunk_id] = None
    for node, chosen in wanted.items():
        its_ids = tuple(chosen)
        for start in range(0, len(its_ids), PAGE_CHUNKS):
            yield node, its_ids[start : start + PAGE_CHUNKS]
