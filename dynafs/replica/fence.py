"""The fence: what a node that has learned a newer state of the ring takes no more, and what it took before.

A new owner that pulls what an old one holds must not miss a write that the old one accepted when it did not know that
the ring moves. From when it knows, it refuses writes that were sent by an older state; those it had accepted are on the
disk before it tells what it holds.
"""

import asyncio
from collections import deque
from typing import TypeVar

from dynafs.errors import ReplicaIncomplete, RingBehind, RingOutdated
from dynafs.membership import DiskHistory, RingRegister
from dynafs.ring import file_hash

F = TypeVar("F", bound="asyncio.Future[None]")

#: Writes remembered although they may be on disk, because an older one is not.
REMEMBERED_MAX = 1024


class Fence:
    """Guards one node's copies."""

    def __init__(self, me: str, register: RingRegister, disk: DiskHistory) -> None:
        self._me, self._register, self._disk = me, register, disk
        #: accepted, the oldest first; some may be on disk
        self._storing: deque[asyncio.Future[None]] = deque()
        #: how many are remembered when those on disk are looked for among all
        self._swept_at = REMEMBERED_MAX

    def check(self, ring_version: int) -> None:
        """Raise RingOutdated when a newer state is known than an operation goes by, RingBehind when this node may have
        forgotten one; 0 goes by none."""
        if not ring_version:
            return
        self._register.check_memory()
        known = self._register.state.version
        if ring_version < known:
            raise RingOutdated(f"asked by version {ring_version} of the ring, which is at {known}", version=known)

    def check_held(self, key: bytes) -> None:
        """Raise ReplicaIncomplete while what this node held under a key may be lost."""
        if self._disk.is_complete:
            return
        here = (*self._disk.pulled, self._me)
        missing = [node for node in self._register.view.owners(file_hash(key)) if node not in here]
        if missing:
            raise ReplicaIncomplete(missing)

    def check_all_held(self) -> None:
        """Raise ReplicaIncomplete while anything that this node held may be lost."""
        if not self._disk.is_complete:
            here = (*self._disk.pulled, self._me)
            raise ReplicaIncomplete([node for node in self._register.view.nodes if node not in here])

    def store(self, stored: F) -> F:
        """Remember a write until it is on disk."""
        storing = self._storing
        # Writes end about in the order in which they began, so none needs a callback of its own that removes it.
        while storing and storing[0].done():
            storing.popleft()
        if len(storing) >= self._swept_at:
            self._sweep()
        storing.append(stored)
        return stored

    def _sweep(self) -> None:
        """Forget all that is on disk; the next sweep comes after as many more as are left."""
        self._storing = deque(one for one in self._storing if not one.done())
        self._swept_at = 2 * len(self._storing) + REMEMBERED_MAX

    async def passed(self, ring_version: int) -> None:
        """Return when everything accepted by older states is on disk, at once for 0. Raises RingBehind while the state
        is not known."""
        if not ring_version:
            return
        self._register.check_memory()
        known = self._register.state.version
        if ring_version > known:
            raise RingBehind(f"asked by version {ring_version} of the ring, this node knows {known}", version=known)
        if storing := {one for one in self._storing if not one.done()}:
            await asyncio.wait(storing)
