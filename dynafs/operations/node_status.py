"""The survey: what every node says of itself, for operators."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from dynafs.errors import DynafsError, failure_code
from dynafs.membership import DiskHistory, SelfStatus
from dynafs.membership.cluster import Cluster
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Clock, Store
from dynafs.wire.ring import encode_ring_state
from dynafs.wire.ring_messages import AskStatus, LearnRing, NodeStatus

#: Nodes that one question names, and how long those that are to meet may take.
NODES_MAX = 10_000
MEETING_MAX_S, MEETING_PAUSE_S = 10.0, 0.2


class NodeReport(NamedTuple):
    """What one node said. clock_offset_ms: how far its clock is ahead of the asker's, give or take half the time that
    asking took. problem: code of why it said nothing, empty when it did. unreached: nodes that it cannot call, of those
    that it was asked for."""

    version: int = 0
    epoch: int = 0
    stored_bytes: int = 0
    clock_offset_ms: int = 0
    problem: str = ""
    unreached: tuple[str, ...] = ()
    is_draining: bool = False
    is_whole: bool = True
    started_ms: int = 0
    http: str = ""

    @property
    def is_serving(self) -> bool:
        """Whether what it holds can be counted on."""
        return not self.problem and not self.is_draining and self.is_whole


class StatusSurvey:
    """Asks all nodes of the ring, and answers who asks."""

    def __init__(self, cluster: Cluster, store: Store, clock: Clock, status: SelfStatus, disk: DiskHistory) -> None:
        self._cluster, self._store, self._clock = cluster, store, clock
        self._status, self._disk = status, disk

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that ask how this node is."""
        dispatcher.register(AskStatus, lambda _, request, _body: self.serve(request))

    def serve(self, request: AskStatus) -> Answer[NodeStatus]:
        """Tell how this node is. Raises StoreFailed."""
        state, status = self._cluster.view.state, self._status
        unreached = tuple(node for node in request.nodes[:NODES_MAX] if not self._cluster.is_up(node))
        return Answer(NodeStatus(
            state.version, state.ring.epoch, self.stored_bytes(), self._clock.wall_ms(), unreached,
            status.is_draining, self._disk.is_complete, status.started_ms, status.http,
        ))  # fmt: skip

    def stored_bytes(self) -> int:
        """Return what this node's segments take. Raises StoreFailed."""
        return sum(self._store.segment_sizes().values())

    async def ask(self) -> dict[str, NodeReport]:
        """Return {node: what it said} of all nodes that own, or will own, anything."""
        nodes = self._cluster.view.nodes
        told = await asyncio.gather(*(self._ask_one(node, AskStatus()) for node in nodes))
        return dict(zip(nodes, told, strict=True))

    async def find_gaps(self, newcomers: Sequence[str]) -> list[str]:
        """Return what keeps newcomers and the members that are up from calling each other, after waiting for it a
        little; nothing when all is well."""
        members = [node for node in self._cluster.view.nodes if self._cluster.is_up(node)]
        everybody = tuple(dict.fromkeys((*members, *newcomers)))
        deadline_s = self._clock.monotonic_s() + MEETING_MAX_S
        while True:
            # What is staged has the addresses by which they find each other.
            await asyncio.gather(*(self._tell(node) for node in newcomers))
            told = await asyncio.gather(*(self._ask_one(node, AskStatus(everybody)) for node in everybody))
            gaps = [
                f"{node} does not answer ({one.problem})"
                for node, one in zip(everybody, told, strict=True)
                if one.problem
            ]
            gaps += [
                f"{node} does not reach {', '.join(one.unreached)}"
                for node, one in zip(everybody, told, strict=True)
                if one.unreached
            ]
            if not gaps or self._clock.monotonic_s() > deadline_s:
                return gaps
            await asyncio.sleep(MEETING_PAUSE_S)

    async def _tell(self, node: str) -> None:
        with suppress(DynafsError):
            await self._cluster.ask(node, LearnRing(), encode_ring_state(self._cluster.view.state))

    async def _ask_one(self, node: str, request: AskStatus) -> NodeReport:
        asked_ms = self._clock.wall_ms()
        try:
            answer = await self._cluster.ask(node, request)
        except DynafsError as error:
            return NodeReport(problem=failure_code(error))
        status, middle_ms = answer.message, (asked_ms + self._clock.wall_ms()) // 2
        offset_ms = status.wall_ms - middle_ms
        return NodeReport(
            status.version, status.epoch, status.stored_bytes, offset_ms, unreached=status.unreached,
            is_draining=status.is_draining, is_whole=status.is_whole, started_ms=status.started_ms,
            http=status.http,
        )  # fmt: skip
