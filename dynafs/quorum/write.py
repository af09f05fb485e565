"""The write fold: acks and failures in, verdict out."""

from collections.abc import Sequence

from dynafs.quorum.policy import Verdict


class QuorumWrite:
    """Counts the owners that confirmed one write.

    Invariant: every target is in exactly one of waiting, acked and failed.
    """

    __slots__ = ("_waiting", "acked", "failed", "w")

    def __init__(self, w: int, targets: Sequence[str]) -> None:
        assert len(set(targets)) == len(targets)
        self.w = w
        self._waiting = dict.fromkeys(targets)
        #: nodes that hold the write durably, in the order they said so
        self.acked: list[str] = []
        #: {node: error code}
        self.failed: dict[str, str] = {}

    def add_target(self, node: str) -> None:
        """One more node may confirm: it stands in for another."""
        if node not in self.acked and node not in self.failed:
            self._waiting[node] = None

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
    def verdict(self) -> Verdict:
        """MET at w acks, LOST as soon as those still waiting cannot make up w."""
        if len(self.acked) >= self.w:
            return Verdict.MET
        if len(self.acked) + len(self._waiting) < self.w:
            return Verdict.LOST
        return Verdict.PENDING

    @property
    def is_settled(self) -> bool:
        """Whether every target has answered or failed."""
        return not self._waiting
