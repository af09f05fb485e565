"""The read fold: what each owner holds in, the newest record and the repairs out.

One owner is asked for its whole record, the others for a digest of theirs. While all digests agree that one record is
the answer; otherwise the fold names the owners whose whole records it still wants.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dynafs.files.version import EMPTY, Record
from dynafs.quorum.policy import Verdict

#: Digest of a file of which nothing is known.
ABSENT = b""


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """Owners among those that answered which hold `record`, and those that do not and should."""

    record: Record
    holders: tuple[str, ...]
    stale: tuple[str, ...]


class QuorumRead:
    """Collects what owners hold of one file.

    While a ring changes, the owners that are read from are only one of two sets; some of the other are waited for as
    well, because what is returned must be held there, too.

    Invariant: `_records` only has nodes of `_digests`.
    """

    __slots__ = ("_also", "_digests", "_needed_also", "_readers", "_records", "_targets", "failed", "r")

    def __init__(self, r: int, targets: Sequence[str], also: Sequence[str] = (), needed_also: int = 0) -> None:
        """targets: of which r must answer. also: of which `needed_also` must; they may be targets as well."""
        self.r, self._needed_also = r, needed_also
        self._readers, self._also = frozenset(targets), frozenset(also)
        self._targets = dict.fromkeys((*targets, *also))
        self._digests: dict[str, bytes] = {}
        self._records: dict[str, Record] = {}
        #: {node: error code}
        self.failed: dict[str, str] = {}

    def add_digest(self, node: str, digest: bytes) -> None:
        """The node's record has this digest."""
        if node in self._targets and node not in self.failed:
            self._digests.setdefault(node, digest)

    def add_record(self, node: str, digest: bytes, record: Record) -> None:
        """The node's whole record; replaces what its digest said earlier, for it may have moved on."""
        if node in self._targets and node not in self.failed:
            self._digests[node] = digest
            self._records[node] = record

    def add_failure(self, node: str, code: str) -> None:
        """The node refused, broke or stayed silent too long. Its earlier answer, if any, stands."""
        if node in self._targets and node not in self._digests:
            self.failed.setdefault(node, code)

    def retract(self, node: str, code: str) -> None:
        """The node said what it holds but cannot show it: count it as failed after all."""
        self._digests.pop(node, None)
        self._records.pop(node, None)
        self.failed[node] = code

    @property
    def pending(self) -> tuple[str, ...]:
        """Nodes that neither answered nor failed."""
        return tuple(node for node in self._targets if node not in self._digests and node not in self.failed)

    @property
    def answered(self) -> tuple[str, ...]:
        """Nodes that said what they hold."""
        return tuple(self._digests)

    @property
    def verdict(self) -> Verdict:
        """MET when enough have answered, LOST when fewer than that still can."""
        verdict = self._verdict_of(self._readers, self.r)
        if self._needed_also and verdict is not Verdict.LOST:
            other = self._verdict_of(self._also, self._needed_also)
            verdict = verdict if other is Verdict.MET else other
        return verdict

    def _verdict_of(self, nodes: Collection[str], needed: int) -> Verdict:
        if sum(node in nodes for node in self._digests) >= needed:
            return Verdict.MET
        if len(nodes) - sum(node in nodes for node in self.failed) < needed:
            return Verdict.LOST
        return Verdict.PENDING

    @property
    def agrees(self) -> bool:
        """Whether all answers so far are the same record (or the same absence)."""
        return len(set(self._digests.values())) <= 1

    def wanted_records(self) -> tuple[str, ...]:
        """Return the nodes whose whole record is needed before `plan` can be called, one per differing digest."""
        known = {self._digests[node] for node in self._records} | {ABSENT}
        wanted: dict[bytes, str] = {}
        for node, digest in self._digests.items():
            if digest not in known:
                wanted.setdefault(digest, node)
        return tuple(wanted.values())

    def plan(self) -> RepairPlan:
        """Return the merged record, who holds it and who needs it. Requires that nothing is wanted any more."""
        assert not self.wanted_records()
        merged = EMPTY
        by_digest = {self._digests[node]: record for node, record in self._records.items()}
        for record in by_digest.values():
            merged = merged.merge(record)
        merged = merged.resolved()
        stamps = merged.stamps
        holders = [node for node, digest in self._digests.items() if by_digest.get(digest, EMPTY).stamps == stamps]
        stale = [node for node in self._digests if node not in holders]
        return RepairPlan(merged, tuple(holders), tuple(stale))
