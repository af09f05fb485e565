"""Maintenance: taking a node out of service for a while, without anybody noticing.

Any node can be asked to do this to any other. It looks first whether everybody else still has what reads and writes
need; a node that is being drained goes on serving whoever still asks it, but says that it is not ready, and is asked
last by its peers.
"""

import asyncio
from collections.abc import Iterable, Mapping

from dynafs.errors import DynafsError, NotFound, NotSafe, RequestInvalid
from dynafs.jobs.job import JobRegistry
from dynafs.membership import SelfStatus
from dynafs.membership.cluster import Cluster
from dynafs.observe.events import get_logger
from dynafs.operations.copies import CopyInspector
from dynafs.operations.node_status import NodeReport, StatusSurvey
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer
from dynafs.rebalance.policy_survey import PolicySurvey
from dynafs.replica.hints import HintBook
from dynafs.ring.change import Change
from dynafs.ring.names import BYTES_PER_S_MAX, checked_node
from dynafs.ring.plan import Plan
from dynafs.ring.safety import reason_of
from dynafs.ring.transition import Step
from dynafs.wire.message import Stored
from dynafs.wire.operator_messages import LimitJob, OperatorRequest, RestartNode, SetDraining

log = get_logger()

#: How often a node that goes looks whether it still keeps something for others.
LOOK_S = 0.05
#: What a node that is going restarts after, so that who asked for it gets the answer.
RESTART_PAUSE_S = 0.2


class Maintenance:
    """One node's part in being maintained, and in having others maintained."""

    def __init__(
        self,
        cluster: Cluster,
        status: SelfStatus,
        surveyor: StatusSurvey,
        policies: PolicySurvey,
        hints: HintBook,
        inspector: CopyInspector,
        jobs: JobRegistry,
    ) -> None:
        self._cluster, self._status, self._surveyor, self._policies = cluster, status, surveyor, policies
        self._hints, self._inspector, self._jobs = hints, inspector, jobs

    def register(self, dispatcher: Dispatcher) -> None:
        """Do what operators order through another node."""
        dispatcher.register(SetDraining, lambda _, request, _body: self.serve(request))
        dispatcher.register(RestartNode, lambda _, request, _body: self.serve(request))
        dispatcher.register(LimitJob, lambda _, request, _body: self.serve(request))

    @property
    def is_draining(self) -> bool:
        """Whether this node is being taken out of service."""
        return self._status.is_draining

    def serve(self, request: OperatorRequest) -> Answer[Stored]:
        """Do what an operator asked another node for. Raises DynafsError."""
        match request:
            case SetDraining():
                self._status.set_draining(is_on=request.is_on)
            case RestartNode():
                if self._status.restart is None:
                    raise RequestInvalid("restart", "this node was not started by `dynafs serve`; restart its host")
                asyncio.get_running_loop().call_later(RESTART_PAUSE_S, self._status.restart)
            case LimitJob():
                job = self._jobs.by_name.get(request.name)
                if job is None or job.status.bytes_per_s_max is None:
                    raise NotFound("job with a pace", request.name[:100])
                if not 0 <= request.bytes_per_s_max <= BYTES_PER_S_MAX:
                    raise RequestInvalid("bytes_per_s_max", f"use 0 to {BYTES_PER_S_MAX}")
                job.limit(request.bytes_per_s_max or None)
        return Answer(Stored())

    async def drain(self, node: str, *, for_restart: bool) -> None:
        """Take a node out of service. for_restart: it is back in a minute, with all it has.

        Raises NotFound for a node that is none of the ring, NotSafe when the others could not do without it, PeerError.
        """
        what, reasons = f"draining {node}", []
        self._check_known(node)
        told, needed = await self._surveyor.ask(), await self._policies.needed()
        if not for_restart and self._cluster.view.state.step is not Step.STABLE:
            reasons.append("the ring is changing (dynafs ring transfers)")
        reasons.append(self._missed(node, told, needed))
        if lacking := await self._lacking(node):
            reasons.append(f"{', '.join(lacking)} lack what is kept for them elsewhere (dynafs hints wait)")
        self._raise(what, reasons)
        await self._cluster.ask(node, SetDraining(is_on=True))
        # Another node may have been drained by another operator since the look: of the two, the later sees both.
        was_drained = node in told and told[node].is_draining
        if not was_drained and (reason := self._missed(node, await self._surveyor.ask(), needed)):
            await self._cluster.ask(node, SetDraining(is_on=False))
            self._raise(what, [reason])

    def _missed(self, node: str, told: Mapping[str, NodeReport], needed: int) -> str:
        """Return why the others cannot do without a node, empty when they can."""
        view = self._cluster.view
        serving = {name for name, one in told.items() if one.is_serving} - {node}
        sets = [owners for p in range(view.partition_count) for owners in view.state.writers(p)]
        return reason_of(f"without {node}", sets, serving, needed, _away(told, but=node))

    async def _lacking(self, node: str) -> list[str]:
        """Return the other nodes for which hints are kept anywhere."""
        kept = (await self._inspector.hints()).values()
        return sorted({target for one in kept if not isinstance(one, str) for target in one} - {node})

    async def resume(self, node: str) -> None:
        """Put a node back into service. Raises NotFound, PeerError."""
        await self._order(node, SetDraining(is_on=False))

    async def restart_node(self, node: str) -> None:
        """Have a node stop and start again. Raises NotFound, PeerError."""
        await self._order(node, RestartNode())

    async def limit(self, name: str, bytes_per_s_max: int) -> dict[str, str]:
        """Set the pace of a job on all nodes; return {node: why it did not}."""
        nodes = self._cluster.view.nodes
        request = LimitJob(name, bytes_per_s_max)
        outcomes = await asyncio.gather(*(self._cluster.ask(node, request) for node in nodes), return_exceptions=True)
        failed = {}
        for node, outcome in zip(nodes, outcomes, strict=True):
            if isinstance(outcome, DynafsError):
                failed[node] = outcome.message
            elif isinstance(outcome, BaseException):
                raise outcome
        return failed

    async def check_changes(self, changes: Iterable[Change], plan: Plan) -> None:
        """Raise NotSafe when a node that is to go is needed for a while still.

        A node that is up is a source of what it has until others have it; without one that is down, so many owners must
        be up as writes need, and of the ring that is to be as well.
        """
        going = [str(change) for change in changes if change.kind in ("leave", "replace")]
        if not going:
            return
        told, needed = await self._surveyor.ask(), await self._policies.needed()
        serving = {name for name, one in told.items() if one.is_serving}
        newcomers = {member.node for member in plan.after.members} - set(told)
        away = _away(told)
        present = reason_of("of the present ring,", plan.before.owners, serving, needed, away)
        coming = reason_of("of the next ring,", plan.after.owners, serving | newcomers, needed, away)
        self._raise(", ".join(going), [present, coming])

    async def finish(self, timeout_s: float) -> None:
        """Before this node goes: say so, and hand over what it keeps for others that are up, within a time."""
        self._status.set_draining(is_on=True)
        self._jobs.hurry("handoff")
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while await self._hints.keeps_for(self._cluster.is_up):
            if loop.time() > deadline_s:
                log.warning("node.hints_kept")
                return
            await asyncio.sleep(LOOK_S)

    async def _order(self, node: str, request: OperatorRequest) -> None:
        self._check_known(node)
        await self._cluster.ask(node, request)

    def _check_known(self, node: str) -> None:
        known = sorted(self._cluster.view.nodes)
        if node not in known:
            raise NotFound("node", f"{checked_node(node)}; the ring has {', '.join(known)}")

    @staticmethod
    def _raise(what: str, reasons: Iterable[str]) -> None:
        if found := [reason for reason in reasons if reason]:
            raise NotSafe(what, found)


def _away(told: Mapping[str, NodeReport], but: str = "") -> list[str]:
    """Return the nodes that do not serve, each with why."""
    return [
        f"{node} " + ("is down" if one.problem else "is being drained" if one.is_draining else "refills its disk")
        for node, one in sorted(told.items()) if node != but and not one.is_serving
    ]  # fmt: skip
