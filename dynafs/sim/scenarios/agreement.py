"""Agreeing on the ring."""

import asyncio
import random

from dynafs.errors import DynafsError, RingChanged
from dynafs.membership import RingConsensus
from dynafs.ring import Member, place
from dynafs.ring.transition import RingState, Step
from dynafs.sim.operators import Decisions, propose
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import Stage, expect, scenario


def _next_state(keeper: RingConsensus, rng: random.Random) -> RingState:
    """Return something that may follow what a node knows."""
    state = keeper.state
    if state.step is Step.STABLE:
        members = tuple(Member(m.node, m.zone, float(rng.randint(1, 4))) for m in state.ring.members)
        ring = state.ring
        return state.moving_to(place(members, ring.partition_count, ring.n, ring, state.epoch_max + 1))
    return state.cancelled() if state.step is Step.MOVING and rng.random() < 0.3 else state.advanced()


class _Operators:
    """Three people who change the ring through any node, without talking to each other."""

    def __init__(self, stage: Stage, decisions: Decisions, rng: random.Random) -> None:
        self._stage, self._decisions, self._rng = stage, decisions, rng
        self.confirmed: list[RingState] = []
        self.is_over = False

    async def work(self) -> None:
        """Commit one change after another."""
        while not self.is_over:
            await asyncio.sleep(self._rng.uniform(0.01, 1.0))
            name = self._rng.choice(self._stage.world.running)
            state = _next_state(_keeper(self._stage, name), self._rng)
            if await self._commit(name, state):
                self.confirmed.append(state)
                self._decisions.add(state)

    async def _commit(self, name: str, state: RingState) -> bool:
        task = propose(self._stage.world, name, state)
        # A node that loses its power never answers.
        await asyncio.wait([task], timeout=20.0)
        if not task.done() or task.cancelled():
            task.cancel()
            return False
        error = task.exception()
        if error is not None and not isinstance(error, DynafsError):
            raise error
        return error is None


def _keeper(stage: Stage, name: str) -> RingConsensus:
    return stage.world.nodes[name].replication.consensus


def _break_something(stage: Stage, rng: random.Random) -> None:
    fault = rng.randrange(4)
    if fault == 0:
        cut = rng.sample(stage.world.names, 2)
        stage.world.partition(cut, [name for name in stage.world.names if name not in cut])
    elif fault == 1:
        stage.world.cut_power(*rng.sample(stage.world.running, rng.choice([1, 1, len(stage.world.running)])))
        stage.world.start()
    else:
        stage.world.network.heal()


@scenario(WorldOptions(nodes=5))
async def operators_commit_at_once(stage: Stage) -> None:
    """Three operators change the ring through different nodes at the same time, while links break and the power of
    nodes fails. No version and no epoch is ever decided twice, and in the end all nodes know the same."""
    decisions, rng = Decisions(), random.Random(f"{stage.world.options.seed} operators")  # noqa: S311
    operators = _Operators(stage, decisions, rng)
    tasks = [asyncio.create_task(operators.work()) for _ in range(3)]
    for _ in range(12):
        await asyncio.sleep(rng.uniform(0.2, 3.0))
        _break_something(stage, rng)
        for name in stage.world.running:
            decisions.add(_keeper(stage, name).state)
    operators.is_over = True
    stage.world.end_faults()
    await asyncio.gather(*tasks)
    await stage.world.wait_connected()
    for _ in range(90):
        await asyncio.sleep(1.0)
        states = [_keeper(stage, name).state for name in stage.world.names]
        if all(state == states[0] for state in states):
            break
    for state in states:
        decisions.add(state)
    expect(all(state == states[0] for state in states), "nodes know different rings long after all is mended")
    expect(all(one.version <= states[0].version for one in operators.confirmed), "a confirmed change is not known")
    expect(len(decisions) > 2, "nothing was ever decided")


@scenario(WorldOptions(nodes=5))
async def minority_decides_nothing(stage: Stage) -> None:
    """Two of five nodes cannot change the ring; three can, and the two learn of it when they are back."""
    stage.world.partition(["n1", "n2"], ["n3", "n4", "n5"])
    rng = random.Random(stage.world.options.seed)  # noqa: S311
    keepers = {name: stage.world.nodes[name].replication.consensus for name in stage.world.names}
    for name, can in (("n1", False), ("n4", True)):
        state = _next_state(keepers[name], rng)
        try:
            await keepers[name].propose(state)
        except RingChanged:
            expect(condition=False, message="somebody else decided")
        except DynafsError:
            expect(not can, "three of five nodes could not decide")
        else:
            expect(can, "two of five nodes decided")
    stage.world.network.heal()
    await stage.world.wait_connected()
    for _ in range(70):
        await asyncio.sleep(1.0)
        if all(keeper.state == keepers["n4"].state for keeper in keepers.values()):
            return
    expect(condition=False, message="the others never learned of the decision")


@scenario(WorldOptions(nodes=5))
async def voters_lose_their_power(stage: Stage) -> None:
    """A change is decided, and before anybody but its proposer has heard of that the power fails everywhere. The others
    come back without the proposer: what they go on from is what was decided."""
    rng = random.Random(stage.world.options.seed)  # noqa: S311
    keeper = _keeper(stage, "n1")
    state = _next_state(keeper, rng)
    learned = asyncio.Event()
    stage.world.nodes["n1"].replication.register.observe(lambda *_: learned.set())
    propose(stage.world, "n1", state)
    await learned.wait()
    decisions = Decisions()
    decisions.add(state)
    stage.world.cut_power(*stage.world.names)
    stage.world.start(*stage.world.names[1:])
    await stage.world.wait_connected(*stage.world.names[1:])
    for name in stage.world.names[1:]:
        await asyncio.wait([propose(stage.world, name, _next_state(_keeper(stage, name), rng))])
        decisions.add(_keeper(stage, name).state)
    stage.world.start()
    await stage.world.wait_connected()
    await asyncio.sleep(5.0)
    for name in stage.world.names:
        decisions.add(_keeper(stage, name).state)


@scenario(WorldOptions(nodes=5))
async def voter_loses_its_disk(stage: Stage) -> None:
    """Three of five nodes decide a change, one of them loses its disk, the other two are away. It and the two that did
    not hear of the change are a majority, and decide nothing of their own."""
    rng = random.Random(stage.world.options.seed)  # noqa: S311
    keeper, learned = _keeper(stage, "n1"), asyncio.Event()
    stage.world.partition(["n1", "n2", "n3"], ["n4", "n5"])
    state = _next_state(keeper, rng)
    stage.world.nodes["n1"].replication.register.observe(lambda *_: learned.set())
    propose(stage.world, "n1", state)
    await learned.wait()
    stage.world.cut_power("n1", "n2", "n3")
    stage.world.network.heal()
    stage.world.nodes["n2"].replace_disk()
    stage.world.start("n2")
    await asyncio.sleep(20.0)
    for name in ("n4", "n5", "n2"):
        await asyncio.wait([propose(stage.world, name, _next_state(_keeper(stage, name), rng))])
    decisions = Decisions()
    decisions.add(state)
    stage.world.start()
    await stage.world.wait_connected()
    for _ in range(70):
        await asyncio.sleep(1.0)
        for name in stage.world.names:
            if _keeper(stage, name).state.version > 1:
                decisions.add(_keeper(stage, name).state)
