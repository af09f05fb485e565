"""Agreement: one decision per version of the ring, by a majority of those who were members before it.

Single-decree Paxos (Lamport, "Paxos made simple", 2001) for every version anew. An acceptor speaks only of the version
behind the one it knows; whoever is behind is told, and whoever is ahead tells. So two operators who commit at the same
time cannot make two rings with one number: one of them succeeds, and the other is told of it.

Pure: acceptors return what must be durable before their answer is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Ballot(NamedTuple):
    """An attempt. Greater ones win. No two are the same: proposer names one proposal, not only a node, which may have
    forgotten what it proposed before it was restarted."""

    round: int
    proposer: str


NO_BALLOT = Ballot(0, "")


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What one voter has promised and accepted for one version. value: the encoded state it accepted last."""

    version: int
    promised: Ballot = NO_BALLOT
    accepted: Ballot = NO_BALLOT
    value: bytes = b""

    def on_prepare(self, ballot: Ballot) -> "Acceptor":
        """Return what to be after being asked for a promise; unchanged when a greater one was given."""
        return replace(self, promised=ballot) if ballot > self.promised else self

    def on_accept(self, ballot: Ballot, value: bytes) -> "Acceptor":
        """Return what to be after being asked to accept; unchanged when a greater promise forbids it."""
        return Acceptor(self.version, ballot, ballot, value) if ballot >= self.promised else self

    def on_learned(self, version: int) -> "Acceptor":
        """Return what to be once a version was decided: it begins anew behind that."""
        return Acceptor(version + 1) if version >= self.version else self


@dataclass
class Proposal:
    """One attempt of one proposer, folded from the voters' answers.

    voters: members of the ring that stands. value: what to propose; another if an earlier attempt may have decided it.
    """

    version: int
    ballot: Ballot
    voters: Sequence[str]
    value: bytes
    _promised: set[str] = field(default_factory=set)
    _agreed: set[str] = field(default_factory=set)
    _refused: set[str] = field(default_factory=set)
    _highest: Ballot = NO_BALLOT
    #: the greatest ballot met; a further attempt must be above it
    seen: Ballot = NO_BALLOT

    @property
    def is_own(self) -> bool:
        """Whether what is proposed is still the proposer's own value."""
        return self._highest == NO_BALLOT

    def add_promise(self, node: str, acceptor: Acceptor) -> None:
        """A voter's state after it was asked to promise."""
        if acceptor.version != self.version or node not in self.voters:
            return
        self.seen = max(self.seen, acceptor.promised)
        if acceptor.promised != self.ballot:
            self._refused.add(node)
            return
        if not self.is_promised:
            self._promised.add(node)
            if acceptor.accepted > self._highest:
                self._highest, self.value = acceptor.accepted, acceptor.value

    def add_agreement(self, node: str, acceptor: Acceptor) -> None:
        """A voter's state after it was asked to accept."""
        if acceptor.version != self.version or node not in self.voters:
            return
        self.seen = max(self.seen, acceptor.promised)
        if acceptor.accepted == self.ballot:
            self._agreed.add(node)
        else:
            self._refused.add(node)

    def add_failure(self, node: str) -> None:
        """A voter gave no answer."""
        self._refused.add(node)

    @property
    def is_promised(self) -> bool:
        """Whether `value` may be sent to be accepted."""
        return self._is_majority(self._promised)

    @property
    def is_decided(self) -> bool:
        """Whether `value` is the decision, whatever happens from now on."""
        return self._is_majority(self._agreed)

    @property
    def is_hopeless(self) -> bool:
        """Whether this attempt can succeed no more; `add_failure` counts too."""
        return 2 * (len(self.voters) - len(self._refused)) <= len(self.voters)

    def _is_majority(self, nodes: set[str]) -> bool:
        return 2 * len(nodes) > len(self.voters)


def next_ballot(proposer: str, seen: Ballot) -> Ballot:
    """Return a ballot above all that this proposal has met or used."""
    return Ballot(seen.round + 1, proposer)
