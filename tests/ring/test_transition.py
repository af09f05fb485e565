"""Transitions: whatever order things happen in, a read sees every write that ended before it began."""

import random
from dataclasses import dataclass, field

import pytest

from dynafs.errors import ChangeRefused, RingError
from dynafs.ring import Member, Ring, place
from dynafs.ring.change import Change
from dynafs.ring.transition import RingState, Step

N = 3


def members(*names: str) -> tuple[Member, ...]:
    return tuple(Member(name, name) for name in names)


def one_partition(epoch: int, owners: tuple[str, ...]) -> Ring:
    return Ring(epoch, N, members(*sorted(owners)), (owners,))


@dataclass
class World:
    """One file in one partition. Nodes hold sets of writes; coordinators drive quorums; all steps are interleaved.

    states: every decided state by its version. known: {node: the version it knows}. held: {node: writes}.
    """

    rng: random.Random
    r: int
    w: int
    states: list[RingState]
    known: dict[str, int] = field(default_factory=dict)
    held: dict[str, set[int]] = field(default_factory=dict)
    done: set[tuple[int, str]] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    writes: int = 0
    reads: int = 0

    @property
    def state(self) -> RingState:
        return self.states[-1]

    def learn(self, node: str, version: int) -> None:
        self.known[node] = max(self.known.get(node, 0), version)
        self.held.setdefault(node, set())

    def accepts(self, node: str, version: int) -> bool:
        """A call carries a version; the node learns a newer one and refuses an older one."""
        if self.known.get(node, 0) <= version:
            self.learn(node, version)
            return True
        return False

    def reach(self, nodes: tuple[str, ...], version: int, needed: int, writes: set[int]) -> list[str] | None:
        """Ask owners in any order until enough have answered; a write may stay at those that took it."""
        answered: list[str] = []
        for node in self.rng.sample(nodes, len(nodes)):
            if self.rng.random() < 0.25 or not self.accepts(node, version):
                continue
            self.held[node] |= writes
            answered.append(node)
            if len(answered) == needed:
                return answered
        return None

    def a_state(self) -> RingState:
        """What some coordinator still believes in."""
        return self.rng.choice(self.states[-3:])

    def write(self) -> None:
        self.writes += 1
        self.store(self.a_state(), {self.writes})

    def store(self, state: RingState, writes: set[int]) -> None:
        if None not in [self.reach(nodes, state.version, self.w, writes) for nodes in state.writers(0)]:
            self.ended |= writes

    def read(self) -> None:
        state, must_see = self.a_state(), set(self.ended)
        answered = self.reach(state.readers(0), state.version, self.r, set())
        if answered is not None:
            self.reads += 1
            seen = set().union(*(self.held[node] for node in answered))
            assert must_see <= seen, f"{state.version} {state.step} missed {must_see - seen}"
            # What a read returns must not be taken back: first it goes where a write would go.
            self.store(state, seen)

    def pull(self) -> None:
        """A new owner takes over what r old owners hold, which have heard that the ring moves."""
        state = self.state
        wanted = [node for node in state.newest.owners[0] if 0 in state.pulls(node)]
        if not wanted:
            return
        node = self.rng.choice(wanted)
        sources = self.rng.sample(state.ring.owners[0], self.r)
        for source in sources:
            self.learn(source, state.version)
            self.held.setdefault(node, set()).update(self.held[source])
        self.learn(node, state.version)
        self.done.add((0, node))

    def decide(self) -> None:
        """Take the next step when it may be taken; otherwise begin, or give up, a transition."""
        state = self.state
        if state.step is Step.STABLE:
            names = self.rng.sample(["a", "b", "c", "d", "e", "f"], N)
            if set(names) != set(state.ring.owners[0]):
                self.states.append(state.moving_to(one_partition(state.epoch_max + 1, tuple(names))))
                self.done.clear()
        elif state.step is Step.MOVING:
            if state.is_pulled(self.done, self.r):
                self.states.append(state.advanced())
            elif self.rng.random() < 0.1:
                self.states.append(state.cancelled())
        elif state.is_known_to_enough([n for n, known in self.known.items() if known >= state.version], self.r):
            self.states.append(state.advanced())

    def run(self, steps: int) -> None:
        actions = [self.write, self.read, self.read, self.pull, self.decide, self.spread]
        for _ in range(steps):
            self.rng.choice(actions)()

    def spread(self) -> None:
        self.learn(self.rng.choice(self.state.nodes), self.state.version)


def world(seed: int, r: int = 2, w: int = 2) -> World:
    made = World(random.Random(seed), r, w, [RingState.first(one_partition(1, ("a", "b", "c")))])
    for node in "abc":
        made.learn(node, 1)
    return made


@pytest.mark.parametrize(("r", "w"), [(2, 2), (1, 3), (3, 1), (3, 3)])
def test_reads_see_every_write_that_ended(r: int, w: int) -> None:
    """Coordinators of three neighbouring versions, messages lost, pulls and steps in any order."""
    versions = reads = 0
    for seed in range(200):
        made = world(seed, r, w)
        made.run(400)
        versions, reads = versions + made.state.version, reads + made.reads
    assert versions > 600
    assert reads > 2000


@pytest.mark.parametrize(
    ("method", "replacement"),
    [
        ("is_pulled", lambda *_: True),
        ("is_known_to_enough", lambda *_: True),
        ("readers", lambda self, partition: self.newest.owners[partition]),
        ("writers", lambda self, partition: (self.newest.owners[partition],)),
        ("pulls", lambda self, node: [0] if node in self.newest.owners[0] and node not in self.ring.owners[0] else []),
    ],
)
def test_every_rule_is_needed(method: str, replacement, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of them some read misses a write."""
    monkeypatch.setattr(RingState, method, replacement)
    if method == "pulls":
        # Owners that stay count as if they held everything.
        monkeypatch.setattr(
            RingState,
            "is_pulled",
            lambda self, done, r: (
                sum(n not in self.ring.owners[0] and (0, n) not in done for n in self.newest.owners[0]) < r
            ),
        )
    with pytest.raises(AssertionError, match="missed"):
        run_many()


def run_many() -> None:
    for seed in range(500):
        world(seed).run(400)


def test_states_follow_one_another() -> None:
    """What cannot follow is refused; epochs are used once."""
    first = RingState.first(place(members("a", "b", "c", "d"), 16, N))
    bigger = place(members("a", "b", "c", "d", "e"), 16, N, first.ring, epoch=2)
    moving = first.moving_to(bigger)
    assert (moving.version, moving.step, moving.nodes) == (2, Step.MOVING, ("a", "b", "c", "d", "e"))
    assert all(len(moving.writers(p)) == 2 for p in moving.pulls("e"))
    with pytest.raises(RingError, match="moving already"):
        moving.moving_to(bigger)
    cancelled = moving.cancelled()
    assert (cancelled.ring, cancelled.step) == (first.ring, Step.STABLE)
    with pytest.raises(RingError, match="next one is 3"):
        cancelled.moving_to(bigger)
    with pytest.raises(RingError, match="cannot be cancelled"):
        moving.advanced().cancelled()
    last = moving.advanced().advanced()
    assert (last.ring, last.version, last.epoch_max) == (bigger, 4, 2)
    with pytest.raises(RingError, match="no next step"):
        last.advanced()
    staged = moving.staging(Change("leave", "a"))
    assert [str(one) for one in staged.advanced().advanced().staged] == ["leave a"]
    assert staged.cleared().staged == ()
    with pytest.raises(ChangeRefused, match="leave a: a is no member"):
        staged.staging(Change("leave", "a"))
    with pytest.raises(RingError, match="fixed"):
        first.moving_to(place(members("a", "b", "c"), 8, N, epoch=2))
