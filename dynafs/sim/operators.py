"""Operators: they change the ring through any node, without talking to each other."""

import asyncio
import random

from dynafs.errors import DynafsError
from dynafs.ring.change import Change
from dynafs.ring.plan import make_plan
from dynafs.ring.transition import RingState
from dynafs.sim.errors import PromiseBroken
from dynafs.sim.plan import RingChange
from dynafs.sim.world import World

#: Virtual seconds after which an operator stops waiting for an answer.
PATIENCE_S = 20.0


class Decisions:
    """What nodes were told was decided. Two of them for one version, or for one epoch, break the promise."""

    def __init__(self) -> None:
        self._states: dict[int, RingState] = {}
        self._epochs: dict[int, bytes] = {}

    def add(self, state: RingState) -> None:
        """A node goes by this state. Raises PromiseBroken."""
        known = self._states.setdefault(state.version, state)
        if known is state:
            return
        if known != state:
            raise PromiseBroken("agreement", f"two states of version {state.version} were decided")
        for ring in (state.ring, state.newest):
            if self._epochs.setdefault(ring.epoch, ring.digest) != ring.digest:
                raise PromiseBroken("agreement", f"two rings of epoch {ring.epoch} were decided")

    def __len__(self) -> int:
        return len(self._states)


def moved(state: RingState, *changes: Change) -> RingState:
    """Return the state that begins the way to the ring with these changes. Raises RingError."""
    return state.moving_to(make_plan(state.ring, changes, state.epoch_max + 1).after)


def propose(world: World, name: str, state: RingState) -> "asyncio.Task[None]":
    """Have a node propose something, as part of its life."""
    node = world.nodes[name]
    assert node.life is not None
    work = node.replication.consensus.propose(state)
    task = world.loop.create_task(work, context=node.life.context.copy())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def operate(world: World, changes: tuple[RingChange, ...], seed: int) -> None:
    """Have all changes of a plan asked for, each at its time."""
    rng = random.Random(f"{seed} operators")  # noqa: S311
    await asyncio.gather(*(_ask(world, change, random.Random(rng.random())) for change in changes))  # noqa: S311


async def _ask(world: World, asked: RingChange, rng: random.Random) -> None:
    await asyncio.sleep(asked.at_s - world.loop.time())
    if not world.nodes[asked.node].is_running:
        return
    state = world.nodes[asked.node].replication.consensus.state
    try:
        following = state.cancelled() if asked.kind == "cancel" else moved(state, *_changes(asked, state, world, rng))
    except DynafsError as error:
        world.trace.note("operator", asked.kind, error.code)
        return
    world.trace.note("operator", asked.kind, [str(member.node) for member in following.newest.members])
    task = propose(world, asked.node, following)
    # A node that loses its power never answers.
    await asyncio.wait([task], timeout=PATIENCE_S)
    task.cancel()


def _changes(asked: RingChange, state: RingState, world: World, rng: random.Random) -> list[Change]:
    """Return what an operator would stage, given who is there."""
    members = [member.node for member in state.ring.members]
    waiting = [name for name in world.names if name not in members]
    one = rng.choice(members)
    match asked.kind:
        case "join" if waiting:
            return [Change("join", name) for name in waiting[: rng.choice([1, len(waiting)])]]
        case "leave" if len(members) > state.ring.n:
            return [Change("leave", one)]
        case "replace" if waiting:
            return [Change("replace", one, by=rng.choice(waiting))]
        case "zone":
            return [Change("zone", one, zone=rng.choice(["default", "other"]))]
        case _:
            return [Change("weight", one, weight=float(rng.choice([1, 2, 4])))]
