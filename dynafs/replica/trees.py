"""What a node tells peers of its trees."""

from itertools import pairwise

import msgspec

from dynafs.errors import RequestInvalid
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Store
from dynafs.replica.fence import Fence
from dynafs.ring import LEAF_COUNT
from dynafs.wire.messages import LEAVES_MAX, TREE_KINDS, CompareTrees, Differing, LeafRows, ReadLeaves
from dynafs.wire.rows import ROWS_MAX, checked_rows

_FIRST_SIZE_BYTES = 2


class TreeService:
    """Serves peers that compare trees."""

    def __init__(self, store: Store, fence: Fence) -> None:
        self._store, self._fence = store, fence

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that compare trees."""
        dispatcher.register(CompareTrees, lambda _, request, body: self.compare(request, bytes(body)))
        dispatcher.register(ReadLeaves, lambda _, request, _body: self.read(request))

    async def compare(self, request: CompareTrees, body: bytes) -> Answer[Differing]:
        """Tell which ranges of leaves are otherwise here."""
        _check_kind(request.kind)
        await self._fence.passed(request.ring_version)
        rows = checked_rows(body, "first leaf and sum")
        firsts = [int.from_bytes(first, "big") for first, _ in rows]
        if not 1 <= request.span <= LEAF_COUNT or any(len(first) != _FIRST_SIZE_BYTES for first, _ in rows):
            raise RequestInvalid("span", f"ranges of 1 to {LEAF_COUNT} leaves, by two bytes each")
        if any(later <= earlier for earlier, later in pairwise(firsts)):
            raise RequestInvalid("body", "ranges must ascend")
        sums = await self._store.tree_sums(request.kind, firsts, request.span)
        return Answer(Differing([i for i, (own, (_, told)) in enumerate(zip(sums, rows, strict=True)) if own != told]))

    async def read(self, request: ReadLeaves) -> Answer[LeafRows]:
        """Tell what leaves stand for."""
        _check_kind(request.kind)
        await self._fence.passed(request.ring_version)
        leaves = request.leaves
        if not 1 <= len(leaves) <= LEAVES_MAX or not 0 <= leaves[0] <= leaves[-1] < LEAF_COUNT:
            raise RequestInvalid("leaves", f"1 to {LEAVES_MAX} of 0 to {LEAF_COUNT - 1}")
        if any(later <= earlier for earlier, later in pairwise(leaves)):
            raise RequestInvalid("leaves", "must ascend")
        rows = await self._store.scan_leaves(request.kind, leaves, request.after, ROWS_MAX)
        return Answer(LeafRows(is_end=len(rows) < ROWS_MAX), msgspec.msgpack.encode(rows))


def _check_kind(kind: str) -> None:
    if kind not in TREE_KINDS:
        raise RequestInvalid("kind", f"one of {', '.join(TREE_KINDS)}")
