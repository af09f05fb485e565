"""The survey: what every node says of itself, for operators."""

import asyncio
from typing import NamedTuple

from dynafs.errors import DynafsError
from dynafs.membership import RingKeeper
from dynafs.ports import Answer, Clock, Store
from dynafs.replication.reach import Reach, failure_code
from dynafs.wire.ring_messages import AskStatus, NodeStatus


class Told(NamedTuple):
    """What one node said. clock_offset_ms: how far its clock is ahead of the asker's, give or take half the time that
    asking took. problem: code of why it said nothing, empty when it did."""

    version: int = 0
    epoch: int = 0
    stored_bytes: int = 0
    clock_offset_ms: int = 0
    problem: str = ""


class Surveyor:
    """Asks all nodes of the ring, and answers who asks."""

    def __init__(self, reach: Reach, keeper: RingKeeper, store: Store, clock: Clock) -> None:
        self._reach, self._keeper, self._store, self._clock = reach, keeper, store, clock

    def serve(self) -> Answer:
        """Tell how this node is. Raises StoreFailed."""
        state = self._keeper.state
        stored_bytes = sum(self._store.segment_sizes().values())
        return Answer(NodeStatus(state.version, state.ring.epoch, stored_bytes, self._clock.wall_ms()))

    async def ask(self) -> dict[str, Told]:
        """Return {node: what it said} of all nodes that own, or will own, anything."""
        nodes = self._reach.view.nodes
        told = await asyncio.gather(*(self._ask_one(node) for node in nodes))
        return dict(zip(nodes, told, strict=True))

    async def _ask_one(self, node: str) -> Told:
        asked_ms = self._clock.wall_ms()
        try:
            answer = await self._reach.ask(node, AskStatus())
        except DynafsError as error:
            return Told(problem=failure_code(error))
        assert isinstance(answer.message, NodeStatus)
        status, middle_ms = answer.message, (asked_ms + self._clock.wall_ms()) // 2
        return Told(status.version, status.epoch, status.stored_bytes, status.wall_ms - middle_ms)
