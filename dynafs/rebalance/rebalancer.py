"""Rebalancing: what a node does towards the ring that the cluster moves to, and how the next step is decided.

Every node learns which state of the ring stands, from any call and from asking now and then. While the ring moves, each
pulls what it will own. The first node that is up looks whether the conditions of `ring.transition` hold for the next
step, and has it decided; whoever else believes to be the first does no harm, for each step is decided once.
"""

import asyncio

from dynafs.errors import DynafsError
from dynafs.healing.transfer import RATE_BYTES_PER_S_MAX
from dynafs.jobs.job import Job, JobRegistry
from dynafs.membership import RingConsensus, RingRegister
from dynafs.membership.cluster import Cluster
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer
from dynafs.rebalance.partition_pull import PartitionPull, packed, unpacked
from dynafs.rebalance.policy_survey import PolicySurvey
from dynafs.ring.transition import RingState, Step
from dynafs.ring.view import RingView
from dynafs.wire.ring import encode_ring_state
from dynafs.wire.ring_messages import LearnRing, Pulled, ReadPulled, ReadRing

#: How often a node asks which ring stands, and how often it works on one that moves.
INTERVAL_S, MOVING_INTERVAL_S = 60.0, 1.0
#: Buckets looked at together.


class Rebalancer:
    """One node's part in a change of the ring."""

    def __init__(
        self,
        cluster: Cluster,
        register: RingRegister,
        consensus: RingConsensus,
        policies: PolicySurvey,
        puller: PartitionPull,
        jobs: JobRegistry,
    ) -> None:
        self._cluster, self._register, self._consensus, self._puller = cluster, register, consensus, puller
        self._policies = policies
        self.job = jobs.add("ring", self._work, INTERVAL_S, RATE_BYTES_PER_S_MAX)
        #: whether another node has told which ring stands, since this one started
        self.has_asked = not cluster.others

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that look at how far the change of the ring is."""
        dispatcher.register(ReadPulled, lambda _, request, _body: self.serve(request))

    def on_peer_up(self) -> None:
        """Ask soon which ring it knows."""
        self.job.hurry()

    def serve(self, request: ReadPulled) -> Answer[Pulled]:
        """Tell which partitions are here for the ring of an epoch."""
        done = self._puller.done(request.epoch, request.needed)
        return Answer(Pulled(), packed(done, self._cluster.view.partition_count))

    async def _work(self, job: Job) -> None:
        nodes = [node for node in self._cluster.others if self._cluster.is_up(node)]
        self.has_asked |= await self._consensus.catch_up(nodes) > 0
        if not self.has_asked:
            job.hurry(MOVING_INTERVAL_S)
        if not self._register.is_sure:
            job.hurry(MOVING_INTERVAL_S)
            await self._consensus.remember(nodes)
        job.status.items += len(nodes)
        if (pending := self._register.pending) is not None:
            # Whoever proposed it may have died before it told anybody.
            job.hurry(MOVING_INTERVAL_S)
            await self._consensus.propose(pending)
        view = self._cluster.view
        if view.state.step is Step.STABLE:
            return
        job.hurry(MOVING_INTERVAL_S)
        if view.state.step is Step.MOVING:
            await self._puller.pull(view)
        if next((node for node in view.nodes if self._cluster.is_up(node)), None) == self._cluster.me:
            await self._drive(view)

    async def _drive(self, view: RingView) -> None:
        """Have the next step decided if it may be taken. Raises DynafsError."""
        policies = await self._policies.in_use()
        r_min, needed = min(one.r for one in policies), max(one.n - one.w + 1 for one in policies)
        if view.state.step is Step.MOVING:
            is_due = await self._is_pulled(view, r_min, needed)
        else:
            is_due = view.state.is_known_to_enough(await self._knowing(view.state), r_min)
        if is_due and self._register.state is view.state:
            await self._consensus.propose(view.state.advanced())

    async def _is_pulled(self, view: RingView, r_min: int, needed: int) -> bool:
        """Return whether so much was pulled that the ring may switch, and by every new owner that is up all it can.

        Less would do, but then the rest would have to come from who owns it no more.
        """
        pulled = await self._pulled(view, needed)
        done = {(partition, node) for node, partitions in pulled.items() for partition in partitions}
        up = [node for node in view.nodes if self._cluster.is_up(node)]
        is_all = all(len(pulled.get(node, ())) >= len(view.state.pulls(node)) for node in up)
        return is_all and view.state.is_pulled(done, r_min)

    async def progress(self, view: RingView) -> dict[str, list[int]]:
        """Return {new owner that answers: partitions of which it has everything}. Raises ReadQuorumLost."""
        policies = await self._policies.in_use()
        return await self._pulled(view, max(one.n - one.w + 1 for one in policies))

    async def _pulled(self, view: RingView, needed: int) -> dict[str, list[int]]:
        """Return {new owner that answers: partitions of which it has everything}."""
        nodes = [member.node for member in view.ring.members]
        request = ReadPulled(view.ring.epoch, needed)
        answers = await asyncio.gather(*(self._cluster.ask(node, request) for node in nodes), return_exceptions=True)
        done: dict[str, list[int]] = {}
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, DynafsError):
                self.job.note(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                done[node] = unpacked(bytes(answer.body))
        return done

    async def _knowing(self, state: RingState) -> list[str]:
        """Return the nodes that know a state; those that do not are told."""
        outcomes = await asyncio.gather(*(self._knows(node, state) for node in state.nodes))
        return [node for node, knows in zip(state.nodes, outcomes, strict=True) if knows]

    async def _knows(self, node: str, state: RingState) -> bool:
        try:
            answer = await self._cluster.ask(node, ReadRing())
            if answer.message.version < state.version:
                await self._cluster.ask(node, LearnRing(), encode_ring_state(state))
        except DynafsError as error:
            self.job.note(error)
            return False
        return True
