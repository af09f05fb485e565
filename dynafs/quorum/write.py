"""The write fold: acks and failures in, verdict out."""

from collections.abc import Sequence

from dynafs.quorum.policy import Verdict


class QuorumWrite:
    """Counts the owners that confirmed one write. While a ring changes there are two sets of owners, and w of each must
    confirm; who belongs to both counts in both.

    Invariant: every target is in exactly one of waiting, acked and failed.
    """

    __slots__ = ("_sets", "_waiting", "acked", "failed", "w")

    def __init__(self, w: int, *sets: Sequence[str]) -> None:
        """sets: of owners; at least one."""
        assert all(len(set(owners)) == len(owners) for owners in sets)
        self.w = w
        self._sets = [list(owners) for owners in sets]
        self._waiting = dict.fromkeys(node for owners in sets for node in owners)
        #: nodes that hold the write durably, in the order they said so
        self.acked: list[str] = []
        #: {node: error code}
        self.failed: dict[str, str] = {}

    def add_target(self, node: str) -> None:
        """One more node may confirm: it stands in for another."""
        if node not in self.acked and node not in self.failed:
            self._waiting[node] = None
            for owners in self._sets:
                owners.append(node)

    def add_ack(self, node: str) -> None:
        """The node holds the write durably. A second word from the same node is no news."""
        if node in self._waiting:
            del self._waiting[node]
            self.acked.append(node)

    def add_failure(self, node: str, code: str) -> None:
        """The node refused, broke or stayed silent too long."""
        if node in self._waiting:
            del self._waiting[node]
            self.failed[node] = code

    @property
    def waiting(self) -> tuple[str, ...]:
        """Nodes that neither confirmed nor failed."""
        return tuple(self._waiting)

    @property
    def verdict(self) -> Verdict:
        """MET at w acks of every set, LOST as soon as those still waiting cannot make up w of one."""
        if len(self._sets) == 1:
            # Nearly always no ring changes, and every target belongs to the one set.
            if len(self.acked) >= self.w:
                return Verdict.MET
            return Verdict.LOST if len(self.acked) + len(self._waiting) < self.w else Verdict.PENDING
        is_met = True
        for owners in self._sets:
            acked = sum(node in owners for node in self.acked)
            if acked < self.w:
                is_met = False
                if acked + sum(node in owners for node in self._waiting) < self.w:
                    return Verdict.LOST
        return Verdict.MET if is_met else Verdict.PENDING

    @property
    def is_settled(self) -> bool:
        """Whether every target has answered or failed."""
        return not self._waiting
