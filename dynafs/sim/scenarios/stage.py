"""What a scenario is made of: a world with one client, and words to say what must hold."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dynafs.files import FileName
from dynafs.ring import file_hash
from dynafs.sim.client import SimClient, Target
from dynafs.sim.errors import PromiseBroken
from dynafs.sim.history import History
from dynafs.sim.options import WorldOptions
from dynafs.sim.run import Outcome, run_script
from dynafs.sim.world import World

SMALL, MIDDLE, LARGE = 200, 4_000, 12_000


@dataclass
class Stage:
    """A world with one client, and words to say what must hold."""

    world: World
    history: History
    client: SimClient = field(init=False)

    def __post_init__(self) -> None:
        """Make the client."""
        self.client = SimClient(self.world, self.history)

    async def put(self, node: str, path: str, value: str, size_bytes: int = SMALL) -> bool:
        """Write demo/path through a node; whether it was acknowledged."""
        return await self.client.put(node, Target("demo", path), value, size_bytes, piece_bytes=1024)

    async def get(self, node: str, path: str) -> bool:
        """Read demo/path through a node; whether an answer came, found or not."""
        return await self.client.get(node, Target("demo", path))

    def last(self, path: str) -> str | None:
        """Return the value of the last successful operation on demo/path."""
        return self.history.files[f"demo/{path}"][-1].value

    def owners(self, path: str) -> tuple[str, ...]:
        """Return the owners of demo/path, first choice first."""
        return self.world.owners(file_hash(FileName("demo", path).key))

    def gateway(self, path: str) -> str:
        """Return a node that owns no copy of demo/path."""
        return next(name for name in self.world.names if name not in self.owners(path))


def expect(condition: object, message: str) -> None:
    """Raise PromiseBroken unless the condition holds."""
    if not condition:
        raise PromiseBroken("scenario", message)


class _Scenario(NamedTuple):
    script: Callable[[Stage], Awaitable[None]]
    options: WorldOptions
    faults: tuple[str, ...]


SCENARIOS: dict[str, _Scenario] = {}
Script = Callable[[Stage], Awaitable[None]]


def scenario(options: WorldOptions | None = None, faults: tuple[str, ...] = ()) -> Callable[[Script], Script]:
    """Register a script under its name. faults: kinds of `plan.FaultKind` that explain error events."""

    def register(script: Script) -> Script:
        SCENARIOS[script.__name__.replace("_", "-")] = _Scenario(script, options or WorldOptions(), faults)
        return script

    return register


def run_scenario(name: str, seed: int, show: Callable[[str], None] | None = None) -> Outcome:
    """Run one scenario with one seed."""
    found = SCENARIOS[name]

    async def script(world: World, history: History) -> None:
        await found.script(Stage(world, history))

    return run_script(replace(found.options, seed=seed), script, list(found.faults), show)


def chunk_count(stage: Stage) -> int:
    """Return how many chunks all nodes hold together."""
    return sum(len(node.platter.index.tables["chunks"]) for node in stage.world.nodes.values())


def rot_all(stage: Stage, node: str) -> list[bytes]:
    """Flip a bit of every chunk on a node's disk; return their ids."""
    platter = stage.world.nodes[node].platter
    chunk_ids = sorted(platter.index.tables["chunks"])
    for chunk_id in chunk_ids:
        platter.rot(stage.world.nodes[node].disk.rng, chunk_id)
    return chunk_ids


def stop_jobs(stage: Stage, *names: str) -> None:
    """Have running nodes do without some of their background work."""
    for node in stage.world.running:
        for name in names:
            stage.world.nodes[node].replication.jobs[name].pause()


def resume_jobs(stage: Stage) -> None:
    """Have running nodes do all their background work again."""
    for node in stage.world.running:
        for job in stage.world.nodes[node].replication.jobs.by_name.values():
            job.resume()
