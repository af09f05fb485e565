"""A whole experiment as data: the world, what clients do, what breaks and when. Drawn from a seed, shrunk, replayed."""

import random
from dataclasses import replace
from typing import Literal

import msgspec

from dynafs.errors import PolicyRefused
from dynafs.quorum import QuorumPolicy
from dynafs.sim.options import WorldOptions, draw_options

StepKind = Literal["put", "get", "part", "delete", "list"]
FaultKind = Literal[
    "kill", "absence", "power_cut", "pause", "partition", "one_way", "clog", "slow_link", "slow_disk", "full_disk",
    "filling_disk", "sync_failure", "clock_jump", "storm", "rot", "lost_disk",
]  # fmt: skip
ChangeKind = Literal["join", "leave", "replace", "weight", "zone", "cancel"]
#: Faults that destroy what was durable. One node a run may suffer them: quorums promise no more.
DAMAGE: tuple[FaultKind, ...] = ("rot", "lost_disk")
PASSING: tuple[FaultKind, ...] = (
    "absence", "kill", "power_cut", "pause", "partition", "one_way", "clog", "slow_link", "slow_disk", "full_disk",
    "filling_disk", "sync_failure", "clock_jump", "storm",
)  # fmt: skip
SIZES_BYTES = (30, 200, 256, 257, 1024, 1500, 5000, 12_000)


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a client does, not before at_s. For a list, path is the prefix."""

    at_s: float
    kind: StepKind
    node: str
    bucket: str
    path: str = ""
    size_bytes: int = 0
    start: int = 0
    stop: int = 0
    r: int | None = None
    w: int | None = None
    delimiter: str = ""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that breaks at at_s and is mended duration_s later. amount: factor, milliseconds, count or share."""

    at_s: float
    kind: FaultKind
    nodes: tuple[str, ...]
    duration_s: float = 0.0
    amount: float = 0.0


class RingChange(msgspec.Struct, frozen=True):
    """Something that an operator asks a node for at at_s, if it can be by then."""

    at_s: float
    kind: ChangeKind
    node: str


class Plan(msgspec.Struct, frozen=True):
    """An experiment. buckets: {name: (r, w)}. available: {name of a bucket that is: its conflict policy}. clients:
    their steps, in order. changes: of the ring."""

    options: WorldOptions
    buckets: dict[str, tuple[int, int]]
    clients: tuple[tuple[Step, ...], ...]
    faults: tuple[Fault, ...] = ()
    available: dict[str, Literal["last-writer-wins", "keep-both"]] = {}
    changes: tuple[RingChange, ...] = ()

    @property
    def size(self) -> tuple[int, int, int]:
        """Nodes, steps, faults and changes of the ring: what shrinking makes smaller."""
        return self.options.nodes, sum(map(len, self.clients)), len(self.faults) + len(self.changes)


def draw_plan(seed: int) -> Plan:
    """Draw an experiment. Which kinds of faults may happen is itself drawn, so that some runs have only one of them."""
    options = draw_options(seed)
    rng = random.Random(f"{seed} plan")  # noqa: S311
    names = [f"n{i}" for i in range(1, options.nodes + 1)]
    duration_s = rng.uniform(10, 40)
    other = rng.choice([(2, 2), (1, 3), (3, 1), (3, 3), (2, 3)])
    buckets = {"plain": (options.r, options.w), "other": other}
    available: dict[str, Literal["last-writer-wins", "keep-both"]] = {}
    if rng.random() < 0.5:
        available = {"loose": "last-writer-wins", "both": "keep-both"}
        buckets |= {name: rng.choice([(1, 2), (2, 2), (2, 3)]) for name in available}
    clients = tuple(_draw_client(rng, options, names, buckets, duration_s) for _ in range(rng.randint(2, 6)))
    w_min = min(w for _, w in buckets.values())
    faults = _draw_faults(rng, names, duration_s, w_min)
    options, changes = _draw_changes(options, names, duration_s)
    return Plan(options, buckets, clients, faults, available, changes)


def _draw_changes(
    options: WorldOptions, names: list[str], duration_s: float
) -> tuple[WorldOptions, tuple[RingChange, ...]]:
    """Draw changes of the ring for every second world that is large enough, and with how many nodes it begins."""
    rng = random.Random(f"{options.seed} changes")  # noqa: S311
    if options.nodes <= options.n or rng.random() < 0.5:
        return options, ()
    kinds: list[ChangeKind] = ["join", "join", "leave", "replace", "weight", "zone", "cancel"]
    changes = [
        RingChange(round(rng.uniform(0, duration_s), 3), rng.choice(kinds), rng.choice(names))
        for _ in range(rng.choice([1, 3, 8]))
    ]
    if rng.random() < 0.3:
        # Two operators at the same moment.
        changes += [msgspec.structs.replace(one, node=rng.choice(names)) for one in changes]
    founders = rng.randint(options.n, options.nodes)
    return replace(options, founders=founders), tuple(sorted(changes, key=lambda one: one.at_s))


def _draw_client(
    rng: random.Random, options: WorldOptions, names: list[str], buckets: dict[str, tuple[int, int]], duration_s: float
) -> tuple[Step, ...]:
    think_s, home = rng.choice([0.05, 0.3, 1.0]), rng.choice([*names, None])
    weights = [rng.choice([2, 6]), rng.choice([2, 6]), 1, rng.choice([0, 1, 2]), rng.choice([0, 1])]
    steps: list[Step] = []
    at_s = 0.0
    while at_s < duration_s and len(steps) < 120:
        kind: StepKind = rng.choices(("put", "get", "part", "delete", "list"), weights)[0]
        bucket = rng.choices(list(buckets), [3, 1, 1, 1][: len(buckets)])[0]
        path = f"hot{rng.randrange(3)}" if rng.random() < 0.7 else f"cold/{rng.randrange(20)}"
        size = rng.choice(SIZES_BYTES)
        start = rng.randrange(size)
        r, w = _draw_numbers(rng, QuorumPolicy(options.n, *buckets[bucket], is_available=bucket in ("loose", "both")))
        delimiter = ""
        if kind == "list":
            path, delimiter = rng.choice([("", ""), ("", "/"), ("cold/", ""), ("cold/", "/"), ("h", "")])
        steps.append(Step(
            round(at_s, 3), kind, home or rng.choice(names), bucket, path, size, start if kind == "part" else 0,
            start + rng.randrange(size) if kind == "part" else 0, r, w, delimiter,
        ))  # fmt: skip
        at_s += rng.expovariate(1 / think_s)
    return tuple(steps)


def _draw_numbers(rng: random.Random, policy: QuorumPolicy) -> tuple[int | None, int | None]:
    """Draw quorum numbers of one request that the bucket's policy allows; mostly none."""
    if rng.random() < 0.8:
        return None, None
    r, w = rng.choice([None, 1, 2, 3]), rng.choice([None, 1, 2, 3])
    try:
        policy.override(r, w)
    except PolicyRefused:
        return None, None
    return r, w


def _draw_faults(rng: random.Random, names: list[str], duration_s: float, w_min: int) -> tuple[Fault, ...]:
    kinds = [kind for kind in PASSING if rng.random() < 0.3]
    victim = rng.choice(names)
    damage: list[FaultKind] = [kind for kind in DAMAGE if rng.random() < 0.4] if w_min >= 2 else []
    faults = []
    for _ in range(rng.choice([0, 2, 4, 8]) if kinds or damage else 0):
        kind = rng.choice([*kinds, *damage])
        nodes = _draw_nodes(rng, kind, names, victim)
        lasts_s = rng.uniform(50.0, 200.0) if kind == "absence" else rng.expovariate(1 / 4.0)
        at_s = rng.uniform(0, duration_s)
        faults.append(Fault(round(at_s, 3), kind, nodes, round(lasts_s, 3), round(_draw_amount(rng, kind), 3)))
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def _draw_nodes(rng: random.Random, kind: FaultKind, names: list[str], victim: str) -> tuple[str, ...]:
    if kind in DAMAGE:
        return (victim,)
    if kind == "storm":
        return tuple(names)
    if kind == "absence":
        return tuple(rng.sample(names, rng.choice([1, 1, 2])))
    if kind in ("kill", "power_cut", "partition"):
        return tuple(rng.sample(names, rng.choice([1, 1, 1, 2, len(names) // 2, len(names)])))
    if kind in ("clog", "slow_link", "one_way"):
        return tuple(rng.sample(names, 2))
    return (rng.choice(names),)


def _draw_amount(rng: random.Random, kind: FaultKind) -> float:
    match kind:
        case "slow_link" | "slow_disk":
            return rng.choice([5.0, 50.0, 500.0])
        case "clock_jump":
            return rng.choice([1, -1]) * rng.choice([200.0, 5_000.0, 55_000.0, 600_000.0])
        case "storm":
            return rng.choice([0.05, 0.3])
        case "filling_disk":
            return rng.choice([0.92, 0.96, 0.985])
        case "rot" | "sync_failure":
            return float(rng.randint(1, 4))
        case _:
            return 0.0
