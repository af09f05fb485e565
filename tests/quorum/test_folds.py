"""Quorum folds, exhaustively."""

import itertools

import pytest

from dynafs.causality import Stamp
from dynafs.errors import PolicyRefused
from dynafs.files import Record, Version, VersionKind
from dynafs.files.version import EMPTY
from dynafs.quorum import QuorumPolicy, QuorumRead, QuorumWrite, Verdict

NODES = [f"n{i}" for i in range(5)]


def naive(successes: int, failures: int, n: int, needed: int) -> Verdict:
    if successes >= needed:
        return Verdict.MET
    return Verdict.LOST if n - failures < needed else Verdict.PENDING


@pytest.mark.parametrize("n", range(1, 6))
def test_write_verdict_is_right_after_every_reply_in_every_order(n: int) -> None:
    """For every n, w, order and outcome the verdict follows the definition, and once given never changes."""
    for w in range(1, n + 1):
        for order in itertools.permutations(NODES[:n]):
            for outcomes in itertools.product((True, False), repeat=n):
                fold, decided = QuorumWrite(w, NODES[:n]), None
                good = bad = 0
                for node, is_good in zip(order, outcomes, strict=True):
                    if is_good:
                        fold.add_ack(node)
                        fold.add_ack(node)
                        fold.add_failure(node, "late")
                        good += 1
                    else:
                        fold.add_failure(node, "down")
                        fold.add_failure(node, "down")
                        fold.add_ack(node)
                        bad += 1
                    verdict = fold.verdict
                    assert verdict is naive(good, bad, n, w)
                    assert decided in (None, verdict)
                    decided = verdict if verdict is not Verdict.PENDING else decided
                assert fold.is_settled


@pytest.mark.parametrize("n", range(1, 6))
def test_read_verdict_is_right_after_every_reply(n: int) -> None:
    """A read is met at r answers and lost when r have become impossible."""
    for r in range(1, n + 1):
        for outcomes in itertools.product((True, False), repeat=n):
            fold = QuorumRead(r, NODES[:n])
            for count, (node, is_good) in enumerate(zip(NODES, outcomes, strict=False), 1):
                if is_good:
                    fold.add_digest(node, b"x")
                    fold.add_failure(node, "late")
                else:
                    fold.add_failure(node, "down")
                    fold.add_digest(node, b"x")
                good = sum(outcomes[:count])
                assert fold.verdict is naive(good, count - good, n, r)


SETS = [
    (["n0", "n1", "n2"], ["n2", "n3", "n4"]),
    (["n0", "n1"], ["n2", "n3"]),
    (["n0", "n1", "n2"], ["n0", "n1", "n3"]),
]


@pytest.mark.parametrize("sets", SETS)
def test_write_to_two_sets_needs_both(sets: tuple[list[str], list[str]]) -> None:
    """While a ring changes, w of the old and w of the new owners confirm; who is in both counts in both."""
    nodes = list(dict.fromkeys([*sets[0], *sets[1]]))
    for w in (1, 2):
        for order in itertools.permutations(nodes):
            for outcomes in itertools.product((True, False), repeat=len(nodes)):
                fold, good, bad = QuorumWrite(w, *sets), set(), set()
                for node, is_good in zip(order, outcomes, strict=True):
                    fold.add_ack(node) if is_good else fold.add_failure(node, "down")
                    (good if is_good else bad).add(node)
                    told = {naive(len(good & set(one)), len(bad & set(one)), len(one), w) for one in sets}
                    expected = next(v for v in (Verdict.LOST, Verdict.PENDING, Verdict.MET) if v in told)
                    assert fold.verdict is expected


@pytest.mark.parametrize("sets", SETS)
def test_read_waits_for_the_other_set(sets: tuple[list[str], list[str]]) -> None:
    """R of those that are read from, and as many of the others as must hold what is returned."""
    nodes = list(dict.fromkeys([*sets[0], *sets[1]]))
    for order in itertools.permutations(nodes):
        for outcomes in itertools.product((True, False), repeat=len(nodes)):
            fold, good, bad = QuorumRead(2, sets[0], sets[1], 1), set(), set()
            for node, is_good in zip(order, outcomes, strict=True):
                fold.add_digest(node, b"x") if is_good else fold.add_failure(node, "down")
                (good if is_good else bad).add(node)
                told = {
                    naive(len(good & set(one)), len(bad & set(one)), len(one), n)
                    for one, n in zip(sets, (2, 1), strict=True)
                }
                assert fold.verdict is next(v for v in (Verdict.LOST, Verdict.PENDING, Verdict.MET) if v in told)


def record(*times: int) -> Record:
    merged = EMPTY
    for time in times:
        merged = merged.write(Version(Stamp(time, "a"), VersionKind.FILE))
    return merged


def test_read_asks_for_each_differing_record_once_and_plans_the_repair() -> None:
    """Stale and absent owners are named, holders too, and the newest record is the merge."""
    old, new = record(1), record(1, 2)
    fold = QuorumRead(2, NODES[:4])
    fold.add_record("n0", b"old", old)
    fold.add_digest("n1", b"new")
    fold.add_digest("n2", b"new")
    fold.add_digest("n3", b"")
    assert not fold.agrees
    assert fold.wanted_records() == ("n1",)
    fold.add_record("n1", b"new", new)
    plan = fold.plan()
    assert plan.record == new
    assert set(plan.holders) == {"n1", "n2"}
    assert set(plan.stale) == {"n0", "n3"}


def test_read_of_absence_has_nothing_to_repair() -> None:
    """Owners that agree on nothing give an empty record."""
    fold = QuorumRead(2, NODES[:3])
    fold.add_digest("n0", b"")
    fold.add_digest("n1", b"")
    assert fold.agrees
    assert fold.plan().record == EMPTY
    assert fold.plan().stale == ()


def test_retracted_answer_counts_as_failure() -> None:
    """An owner that told a digest but cannot show the record does not count for r."""
    fold = QuorumRead(2, NODES[:2])
    fold.add_digest("n0", b"x")
    fold.add_digest("n1", b"y")
    fold.retract("n1", "peer_timeout")
    assert fold.verdict is Verdict.LOST


@pytest.mark.parametrize(("n", "r", "w"), [(3, 1, 2), (3, 2, 1), (3, 0, 3), (3, 4, 1), (1, 1, 0)])
def test_policy_without_overlap_is_refused(n: int, r: int, w: int) -> None:
    """r + w must be above n, and both within 1 to n."""
    with pytest.raises(PolicyRefused):
        QuorumPolicy(n, r, w).check()


def test_policy_override_may_only_ask_for_more_than_the_bucket() -> None:
    """One request's r must meet every write of every other request, whatever w that one asked for."""
    policy = QuorumPolicy(3, 2, 2)
    assert policy.override(3, None) == QuorumPolicy(3, 3, 2)
    for r, w in ((1, 3), (3, 1), (1, None), (None, 1), (4, None)):
        with pytest.raises(PolicyRefused):
            policy.override(r, w)
    for r, w in ((1, None), (None, 1), (2, 2)):
        # Each overlaps with the bucket's own 3, but a read with r=1 and a write with w=1 would not with each other.
        with pytest.raises(PolicyRefused):
            QuorumPolicy(3, 3, 3).override(r, w)
