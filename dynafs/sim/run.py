"""Running one experiment: build the world, let clients and faults loose, mend everything, check every promise."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from dynafs.errors import DynafsError
from dynafs.files import BucketPolicy
from dynafs.sim.checkers import (
    Checker,
    Converged,
    NothingWasted,
    RingSettled,
    TombstonesGone,
    all_checkers,
    check_limits,
    holds,
    leftovers,
    newest_of,
)
from dynafs.sim.client import SimClient, Target
from dynafs.sim.errors import PromiseBroken, SimulationError, SimulationStuck
from dynafs.sim.faults import FaultInjector
from dynafs.sim.guard import sealed
from dynafs.sim.history import History
from dynafs.sim.loop import run_virtually
from dynafs.sim.operators import Decisions, operate
from dynafs.sim.options import WorldOptions
from dynafs.sim.plan import Plan, Step
from dynafs.sim.trace import Trace
from dynafs.sim.world import World

#: Virtual seconds within which everything under way must end once all faults are mended.
QUIET_MAX_S = 60.0
#: How often a last read may fail before a file counts as unreadable.
LAST_READS_MAX = 20


@dataclass
class Outcome:
    """How a run ended. failure: empty when every promise held; `checker` is which one did not."""

    digest: str = ""
    events: int = 0
    virtual_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    checker: str = ""
    failure: str = ""


#: Virtual seconds within which all owners must hold the same once all faults are mended: a few walks.
CONVERGE_MAX_S = 300.0
#: Virtual seconds within which a change of the ring must come to its end.
SETTLE_RING_MAX_S = 200.0
#: The same for collecting what nothing uses: the age of references, two graces, and a few rounds.
COLLECT_MAX_S = 300.0
#: Virtual seconds within which a census must be through.
CENSUS_MAX_S = 120.0
#: The same for forgetting deletes, in one of so many runs: their grace is long.
REAP_MAX_S, TOMBSTONES_EVERY = 900.0, 4

#: Events of bugs that production survives.
BUG_EVENTS = ("job.failed", "task.failed", "commit.failed", "commit.stopped", "peer.request_failed")

Script = Callable[[World, History], Awaitable[None]]


def run_plan(plan: Plan, show: Callable[[str], None] | None = None) -> Outcome:
    """Run a plan to its end. show: gets every line of the trace."""

    async def script(world: World, history: History) -> None:
        history.available.update(plan.available)
        await _make_buckets(world, plan)
        clients = [_act(world, history, number, steps) for number, steps in enumerate(plan.clients)]
        seed = plan.options.seed
        await asyncio.gather(FaultInjector(world, seed).run(plan.faults), operate(world, plan.changes, seed), *clients)

    return run_script(plan.options, script, [fault.kind for fault in plan.faults], show)


def run_script(
    options: WorldOptions, script: Script, faults: list[str], show: Callable[[str], None] | None = None
) -> Outcome:
    """Run a script in a fresh world, then mend everything and check. faults: the kinds that explain error events."""
    outcome = Outcome()

    async def main() -> None:
        trace = Trace(asyncio.get_running_loop().time, show)
        trace.capture_logs()
        world, history = World(options, trace), History()
        watch = asyncio.create_task(_watch_limits(world))
        try:
            world.start()
            await world.wait_connected()
            await script(world, history)
            await settle(world, history)
            _check_all(faults, world, history, watch)
            await clear_up(world, history)
            _check_all(faults, world, history, watch)
        except SimulationError as error:
            outcome.checker, outcome.failure = str(error.evidence.get("checker", error.code)), error.message
            if bug := bug_in(world):
                outcome.checker, outcome.failure = "errors", f"{bug}; {error.message}"
        finally:
            watch.cancel()
            for name in world.running:
                world.nodes[name].stop(is_dark=True)
            outcome.digest, outcome.events = trace.digest, trace.count
            outcome.virtual_s, outcome.counts = world.loop.time(), history.counts

    with sealed():
        run_virtually(main())
    return outcome


def bug_in(world: World) -> str:
    """Return which bug a node met, empty when none did: it may be why another check fails."""
    if world.crashes:
        return f"a bug in a callback: {world.crashes[0]}"
    bugs = (f"{node} logged {event} {fields}" for node, event, fields in world.trace.errors if event in BUG_EVENTS)
    return next(bugs, "")


def _check_all(faults: list[str], world: World, history: History, watch: "asyncio.Task[None]") -> None:
    for checker in all_checkers(faults):
        checker.check(world, history)
    if watch.done():
        watch.result()


async def _make_buckets(world: World, plan: Plan) -> None:
    """Make the plan's buckets before anything breaks."""
    for name, (r, w) in plan.buckets.items():
        policy = BucketPolicy(r=r, w=w)
        if name in plan.available:
            policy = BucketPolicy(r=r, w=w, consistency="available", conflict=plan.available[name])
        for attempt in range(LAST_READS_MAX):
            node = world.nodes[world.names[attempt % len(world.names)]]
            assert node.life is not None
            task = world.loop.create_task(node.replication.buckets.make(name, policy), context=node.life.context.copy())
            try:
                await task
            except DynafsError as error:
                world.trace.note("world", "bucket", (name, error.code))
            else:
                break
        else:
            raise SimulationStuck(f"bucket {name} could not be made")


async def _act(world: World, history: History, number: int, steps: tuple[Step, ...]) -> None:
    """Do what a client does; a value names client and step, so it is unique."""
    client = SimClient(world, history, f"client{number}")
    for index, step in enumerate(steps):
        if (wait_s := step.at_s - world.loop.time()) > 0:
            await asyncio.sleep(wait_s)
        target = Target(step.bucket, step.path, step.r, step.w)
        match step.kind:
            case "put":
                await client.put(step.node, target, f"c{number}.{index}", step.size_bytes)
            case "get":
                await client.get(step.node, target)
            case "part":
                await client.get(step.node, target, step.start, step.stop)
            case "delete":
                await client.delete(step.node, target)
            case "list":
                await client.list(step.node, step.bucket, step.path, step.delimiter)


async def settle(world: World, history: History) -> None:
    """End all faults, wait until the nodes agree by themselves, then read every file through every node.

    Raises SimulationStuck when agreement does not come in time or a file stays unreadable.
    """
    world.end_faults()
    if world.options.network.late:
        # What is still on its way may be a write; it would come into the middle of the checks.
        await asyncio.sleep(world.options.network.late_s)
    await world.wait_connected()
    await _wait_for_clocks(world, history)
    await _wait_for(RingSettled(), SETTLE_RING_MAX_S, world, history)
    await _wait_for(Converged(), CONVERGE_MAX_S, world, history)
    await _read_all(world, history)
    # Reading finds what had rotted unseen, and puts good copies in its place.
    await _wait_for(Converged(), CONVERGE_MAX_S, world, history)
    await _wait_quiet(world)


async def clear_up(world: World, history: History) -> None:
    """Have a node count what there is, then wait until everything is gone that nothing uses any more."""
    await _take_census(world)
    await _wait_for(NothingWasted(), COLLECT_MAX_S, world, history)
    if world.options.seed % TOMBSTONES_EVERY == 0:
        await _wait_for(TombstonesGone(), REAP_MAX_S, world, history)
    await _wait_quiet(world)


async def _wait_for(checker: Checker, within_s: float, world: World, history: History) -> None:
    """Wait until a promise holds; raise PromiseBroken when that takes too long. Nothing is read meanwhile."""
    deadline_s = world.loop.time() + within_s
    while not holds(checker, world, history):
        if world.loop.time() > deadline_s:
            checker.check(world, history)
        await asyncio.sleep(1.0)


async def _take_census(world: World) -> None:
    """Let a node count what the checkers have seen on the platters: all of it, whole."""
    node = world.nodes[world.names[world.options.seed % len(world.names)]]
    node.replication.census.start(is_deep=True)
    deadline_s = world.loop.time() + CENSUS_MAX_S
    while (report := node.replication.census.report) is None:
        if world.loop.time() > deadline_s:
            raise SimulationStuck(f"no census within {CENSUS_MAX_S} s: {node.replication.census.job.status}")
        await asyncio.sleep(0.2)
    if not report.is_whole:
        raise PromiseBroken("census", f"{node.name} counts {report}")


async def _read_all(world: World, history: History) -> None:
    """Read every file and list every bucket through every node."""
    reader = SimClient(world, history, "last reader")
    for name in sorted(history.files):
        bucket, _, path = name.partition("/")
        target = Target(bucket, path, r=world.options.n)
        for node in world.names:
            await _insist(partial(reader.get, node, target), f"{name} stays unreadable through {node}")
    for bucket in sorted({name.partition("/")[0] for name in history.files}):
        for node in world.names:
            await _insist(partial(reader.list, node, bucket), f"{bucket} cannot be listed through {node}")


async def _insist(ask: Callable[[], Awaitable[bool]], problem: str) -> None:
    """Ask until there is an answer: late messages of the time before may still do harm once."""
    for _ in range(LAST_READS_MAX):
        if await ask():
            return
        await asyncio.sleep(1.0)
    raise SimulationStuck(problem)


async def _wait_for_clocks(world: World, history: History) -> None:
    """Let time catch up with stamps that clocks gave out while they were ahead: until then owners refuse them."""
    stamps = [version.stamp.wall_ms for name in history.files if (version := newest_of(world, name)) is not None]
    ahead_ms = max(stamps, default=0) - world.nodes[world.names[0]].clock.wall_ms()
    await asyncio.sleep(max(ahead_ms, 0) / 1000)


async def _wait_quiet(world: World) -> None:
    deadline_s = world.loop.time() + QUIET_MAX_S
    while left := [f"{name} {told}" for name in world.names if (told := leftovers(world, name))]:
        if world.loop.time() > deadline_s:
            raise SimulationStuck(f"no quiet within {QUIET_MAX_S} s: {left}")
        await asyncio.sleep(0.2)


async def _watch_limits(world: World) -> None:
    decisions = Decisions()
    while True:
        check_limits(world)
        for name in world.running:
            decisions.add(world.nodes[name].replication.consensus.state)
        await asyncio.sleep(0.1)
