"""Reading trees: which leaves another node holds otherwise, and what they stand for, there and here."""

from collections.abc import Mapping, Sequence

import msgspec

from dynafs.jobs.job import Job
from dynafs.membership.cluster import Cluster
from dynafs.ports import Store
from dynafs.ring import BRANCH_LEAVES, file_hash, leaf_of, leaves_per_partition
from dynafs.wire.messages import CompareTrees, ReadLeaves
from dynafs.wire.rows import ROWS_MAX, reply_rows

#: {item: digest}
Rows = dict[bytes, bytes]


def place_of(kind: str, item: bytes) -> bytes:
    """Return the hash that places what a leaf stands for. item: a record's key, or a chunk's id."""
    return file_hash(item) if kind == "records" else item


class TreeReader:
    """Compares this node's trees with those of others, on behalf of a job."""

    def __init__(self, job: Job, cluster: Cluster, store: Store) -> None:
        self._job, self._cluster, self._store = job, cluster, store

    async def differing(self, kind: str, node: str, partitions: Sequence[int], *, ring_version: int = 0) -> list[int]:
        """Return the leaves of partitions that a peer holds otherwise, ascending. Raises DynafsError.

        ring_version: which the peer must know, 0 for any.
        """
        span = leaves_per_partition(self._cluster.view.partition_count)
        firsts = [partition * span for partition in partitions]
        firsts = await self._differing(kind, node, firsts, span, ring_version)
        for finer in (BRANCH_LEAVES, 1):
            if finer < span:
                inner = [leaf for first in firsts for leaf in range(first, first + span, finer)]
                firsts, span = await self._differing(kind, node, inner, finer, ring_version), finer
        return firsts

    async def _differing(self, kind: str, node: str, firsts: Sequence[int], span: int, ring_version: int) -> list[int]:
        found: list[int] = []
        for start in range(0, len(firsts), ROWS_MAX):
            some = firsts[start : start + ROWS_MAX]
            await self._job.step()
            sums = await self._store.tree_sums(kind, some, span)
            rows = [(first.to_bytes(2, "big"), total) for first, total in zip(some, sums, strict=True)]
            request = CompareTrees(kind, span, ring_version)
            answer = await self._cluster.ask(node, request, msgspec.msgpack.encode(rows), is_bulk=True)
            found += [some[row] for row in answer.message.rows if 0 <= row < len(some)]
            self._job.status.items += len(some)
        return found

    async def read(self, kind: str, node: str, leaves: Sequence[int], *, ring_version: int = 0) -> dict[int, Rows]:
        """Return {leaf: what it stands for} of ascending leaves, at a node or here. Raises DynafsError."""
        found: dict[int, Rows] = {leaf: {} for leaf in leaves}
        after, is_end = b"", False
        while not is_end:
            if node == self._cluster.me:
                page = await self._store.scan_leaves(kind, leaves, after, ROWS_MAX)
                is_end = len(page) < ROWS_MAX
            else:
                request = ReadLeaves(kind, tuple(leaves), after, ring_version)
                answer = await self._cluster.ask(node, request, is_bulk=True)
                page = reply_rows(answer.body, "item and digest")
                is_end = answer.message.is_end or not page
            leaves, after = _sort_into(found, kind, page)
        return found


def _sort_into(found: Mapping[int, Rows], kind: str, page: Sequence[tuple[bytes, bytes]]) -> tuple[list[int], bytes]:
    """Put items of a page into their leaves; return which leaves to ask for next, behind which item.

    Items of leaves that nobody asked for are left out.
    """
    number = -1
    for item, digest in page:
        number = leaf_of(place_of(kind, item))
        if number in found:
            found[number][item] = digest
    return [leaf for leaf in found if leaf >= number], page[-1][0] if page else b""
