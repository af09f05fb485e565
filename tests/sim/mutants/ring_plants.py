"""Bugs in changes of the ring."""

from collections.abc import Callable, Sequence
from typing import Any

from dynafs.membership import RingConsensus, RingRegister
from dynafs.rebalance.partition_pull import PartitionPull
from dynafs.rebalance.rebalancer import Rebalancer
from dynafs.replica.fence import Fence
from dynafs.ring.view import RingView


def _read_early(self: RingView, hash_bytes: bytes) -> tuple[str, ...]:
    """Read from the new owners while they still pull."""
    return self.ring.owners[self.partition_of(hash_bytes)]


def _write_to_the_new_only(self: RingView, hash_bytes: bytes) -> tuple[tuple[str, ...], ...]:
    """Forget the owners that are still read from."""
    return (self.ring.owners[self.partition_of(hash_bytes)],)


async def _believe_in_pulls(self: Rebalancer, view: RingView, r_min: int, needed: int) -> bool:
    """Switch before anything was pulled."""
    return True


def _accept_any_version(self: Fence, ring_version: int) -> None:
    """Serve whoever goes by an older ring."""


async def _take_no_chunks(self: PartitionPull, node: str, chunk_ids: Sequence[bytes]) -> list[bytes]:
    """Pull records, and leave what they refer to where it is."""
    return []


def _trust_the_disk(self: RingRegister) -> None:
    """Serve and vote from an empty disk as if nothing had ever been promised."""


async def _promise_nothing(self: RingConsensus, nodes: Sequence[str]) -> None:
    """Take part again at once."""


#: {name: [(class, method, its replacement)]}
RING_PLANTS: dict[str, list[tuple[type, str, Callable[..., Any]]]] = {
    "new-owners-read-early": [(RingView, "readers", _read_early), (RingView, "writers", _write_to_the_new_only)],
    "old-owners-not-written": [(RingView, "writers", _write_to_the_new_only)],
    "switched-before-pulled": [(Rebalancer, "_is_pulled", _believe_in_pulls)],
    "old-version-accepted": [(Fence, "check", _accept_any_version)],
    "chunks-not-pulled": [(PartitionPull, "_take_chunks", _take_no_chunks)],
    "empty-disk-votes": [
        (RingRegister, "check_memory", _trust_the_disk),
        (RingConsensus, "remember", _promise_nothing),
    ],
}
