"""Agreement on versions: two are never decided for one number, whatever is lost, repeated or late."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dynafs.ring.paxos import NO_BALLOT, Acceptor, Ballot, Proposal, next_ballot

NODES = ("a", "b", "c", "d", "e")


@dataclass
class World:
    """Voters, proposers, and messages that arrive in any order, twice, or never."""

    rng: random.Random
    voters: tuple[str, ...] = NODES
    acceptors: dict[str, Acceptor] = field(default_factory=lambda: {node: Acceptor(2) for node in NODES})
    messages: list[Callable[[], None]] = field(default_factory=list)
    decided: set[tuple[int, bytes]] = field(default_factory=set)
    seen: dict[str, Ballot] = field(default_factory=lambda: dict.fromkeys(NODES, NO_BALLOT))
    attempts: int = 0

    def propose(self, node: str) -> None:
        self.attempts += 1
        ballot = self.seen[node] = next_ballot(node, self.seen[node])
        proposal = Proposal(2, ballot, self.voters, b"%s %d" % (node.encode(), self.attempts))
        for voter in self.voters:
            self.messages.append(lambda voter=voter: self.prepare(proposal, voter))

    def prepare(self, proposal: Proposal, voter: str) -> None:
        answer = self.acceptors[voter] = self.acceptors[voter].on_prepare(proposal.ballot)
        self.messages.append(lambda: self.on_promise(proposal, voter, answer))

    def on_promise(self, proposal: Proposal, voter: str, answer: Acceptor) -> None:
        was_promised = proposal.is_promised
        proposal.add_promise(voter, answer)
        node = proposal.ballot.proposer
        self.seen[node] = max(self.seen[node], proposal.seen)
        if proposal.is_promised and not was_promised:
            for one in self.voters:
                self.messages.append(lambda one=one: self.accept(proposal, one))

    def accept(self, proposal: Proposal, voter: str) -> None:
        answer = self.acceptors[voter] = self.acceptors[voter].on_accept(proposal.ballot, proposal.value)
        self.messages.append(lambda: self.on_agreement(proposal, voter, answer))

    def on_agreement(self, proposal: Proposal, voter: str, answer: Acceptor) -> None:
        proposal.add_agreement(voter, answer)
        if proposal.is_decided:
            self.decided.add((proposal.version, proposal.value))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if not self.messages or self.rng.random() < 0.02:
                self.propose(self.rng.choice(NODES))
                continue
            number = self.rng.randrange(len(self.messages))
            fate = self.rng.random()
            message = self.messages[number] if fate < 0.1 else self.messages.pop(number)
            if fate < 0.8:
                message()


@pytest.mark.parametrize("voters", [NODES, NODES[:3], NODES[:4]], ids=len)
def test_one_value_is_decided(voters: tuple[str, ...]) -> None:
    """By proposers that race, with messages that go astray; most runs come to a decision."""
    decided = 0
    for seed in range(400):
        world = World(random.Random(seed), voters)
        world.run(600)
        assert len(world.decided) <= 1, f"seed {seed}: {world.decided}"
        decided += len(world.decided)
    assert decided > 300


@pytest.mark.parametrize(
    ("owner", "method", "replacement"),
    [
        (Proposal, "_is_majority", lambda self, nodes: 2 * len(nodes) >= len(self.voters)),
        (Acceptor, "on_accept", lambda self, ballot, value: Acceptor(self.version, ballot, ballot, value)),
        (Acceptor, "on_prepare", lambda self, ballot: Acceptor(self.version, max(ballot, self.promised))),
    ],
    ids=["half", "promise-broken", "accepted-forgotten"],
)
def test_every_rule_is_needed(owner: type, method: str, replacement, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the voters, a broken promise or a forgotten value make two decisions."""
    monkeypatch.setattr(owner, method, replacement)
    outcomes = []
    for seed in range(500):
        world = World(random.Random(seed), NODES[:4])
        world.run(600)
        outcomes.append(len(world.decided))
    assert max(outcomes) > 1


def test_voters_of_another_version_or_ring_do_not_count() -> None:
    """Who is elsewhere with the numbers, or no member, says nothing about this decision."""
    proposal = Proposal(5, Ballot(1, "a"), ("a", "b", "c"), b"value")
    for node, acceptor in (("b", Acceptor(4)), ("c", Acceptor(6)), ("x", Acceptor(5)), ("y", Acceptor(5))):
        proposal.add_promise(node, acceptor.on_prepare(proposal.ballot))
    assert not proposal.is_promised
    proposal.add_promise("a", Acceptor(5).on_prepare(proposal.ballot))
    proposal.add_promise("b", Acceptor(5).on_prepare(proposal.ballot))
    assert proposal.is_promised
    assert proposal.is_own


def test_earlier_value_is_taken_over_and_hopeless_attempts_end() -> None:
    """A value that a majority may have accepted is proposed again; without a majority an attempt gives up."""
    first = Acceptor(5).on_prepare(Ballot(1, "b")).on_accept(Ballot(1, "b"), b"earlier")
    proposal = Proposal(5, Ballot(2, "a"), ("a", "b", "c"), b"mine")
    proposal.add_promise("a", Acceptor(5).on_prepare(proposal.ballot))
    proposal.add_promise("b", first.on_prepare(proposal.ballot))
    assert (proposal.value, proposal.is_own) == (b"earlier", False)
    refused = Proposal(5, Ballot(1, "a"), ("a", "b", "c"), b"mine")
    refused.add_promise("b", Acceptor(5).on_prepare(Ballot(7, "b")))
    refused.add_failure("c")
    assert refused.is_hopeless
    assert next_ballot("a", refused.seen) == Ballot(8, "a")


def test_learning_begins_the_next_version_anew() -> None:
    """What was promised for a decided version is over; older news changes nothing."""
    acceptor = Acceptor(5, Ballot(3, "a"), Ballot(3, "a"), b"value")
    assert acceptor.on_learned(4) == acceptor
    assert acceptor.on_learned(5) == Acceptor(6)
    assert acceptor.on_learned(9) == Acceptor(10)
