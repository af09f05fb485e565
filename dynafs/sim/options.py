"""What a simulated world is like before anything happens in it."""

import random
from dataclasses import dataclass, field

from dynafs.sim.disk import DiskConditions
from dynafs.sim.network import NetworkConditions


@dataclass
class WorldOptions:
    """seed: of every chance in the world. founders: nodes of the first ring, 0 for all.
    clock_offsets_ms, clock_drifts: {node: how wrong its clock is}."""

    seed: int = 0
    nodes: int = 3
    founders: int = 0
    n: int = 3
    r: int = 2
    w: int = 2
    partitions: int = 16
    network: NetworkConditions = field(default_factory=NetworkConditions)
    disk: DiskConditions = field(default_factory=DiskConditions)
    clock_offsets_ms: dict[str, int] = field(default_factory=dict)
    clock_drifts: dict[str, float] = field(default_factory=dict)


def draw_options(seed: int) -> WorldOptions:
    """Draw a world: calm ones, and ones where everything goes a little wrong all the time."""
    rng = random.Random(f"{seed} options")  # noqa: S311
    nodes = rng.choice([3, 3, 4, 5, 5, 7])
    r, w = rng.choice([(2, 2), (2, 2), (2, 2), (1, 3), (3, 1), (2, 3), (3, 2), (3, 3)])
    is_lossy, is_late = rng.random() < 0.4, rng.random() < 0.4
    network = NetworkConditions(
        delay_s=rng.choice([0.0005, 0.002, 0.02]),
        jitter_s=rng.choice([0.0005, 0.005, 0.05]),
        lost=rng.choice([0.001, 0.01, 0.05]) if is_lossy else 0.0,
        repeated=rng.choice([0.0, 0.01, 0.1]),
        late=rng.choice([0.001, 0.01]) if is_late else 0.0,
    )
    disk = DiskConditions(
        write_s=rng.choice([0.0002, 0.001]), sync_s=rng.choice([0.001, 0.005, 0.03]),
        read_s=rng.choice([0.0005, 0.005]), cached=rng.choice([0.0, 0.5, 0.95]),
    )  # fmt: skip
    names = [f"n{i}" for i in range(1, nodes + 1)]
    offsets = {name: rng.choice([0, rng.randint(-50, 50), rng.randint(-20_000, 20_000)]) for name in names}
    drifts = {name: rng.choice([0.0, 0.0, rng.uniform(-0.01, 0.01)]) for name in names}
    return WorldOptions(seed, nodes, 0, 3, r, w, rng.choice([8, 16, 64]), network, disk, offsets, drifts)
