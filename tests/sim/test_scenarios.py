"""Scenarios, random plans, kept regressions, and bugs put in on purpose."""

from pathlib import Path

import msgspec
import pytest

from dynafs.sim.plan import Plan, draw_plan
from dynafs.sim.run import run_plan
from dynafs.sim.scenarios import SCENARIOS, run_scenario
from dynafs.sim.shrink import Shrinker
from dynafs.sim.sweep import sweep
from tests.sim.mutants import PLANTS, planted

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_holds(name: str) -> None:
    """Its script and every promise, under three seeds."""
    for seed in range(3):
        outcome = run_scenario(name, seed)
        assert not outcome.failure, f"tools/dev sim --scenario {name} --seed {seed} --trace: {outcome.failure}"


@pytest.mark.timeout(300)
def test_random_plans_hold() -> None:
    """Sixty seeds; `tools/dev sim --seeds 2000` runs more."""
    found = sweep(range(60))
    assert found.failed is None, f"tools/dev sim --seed {found.failed[0]} --trace: {found.failed[1].failure}"
    assert found.seeds == 60
    print(f"{found.speed:.0f} virtual seconds a second on each core")


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_regression_stays_fixed(path: Path) -> None:
    """A plan that once broke a promise, made as small as it would go."""
    outcome = run_plan(msgspec.json.decode(path.read_bytes(), type=Plan))
    assert not outcome.failure, f"tools/dev sim --plan {path} --trace: {outcome.failure}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTS)
def test_planted_bug_is_found(name: str) -> None:
    """Within two hundred seeds; a rare one by the scenario that is about it."""
    scenario = {
        "commit-repeated": "duplicate-and-late-messages",
        "collected-on-silence": "abandoned-upload",
        "collected-without-grace": "upload-that-takes-very-long",
        "client-context-trusted": "client-claims-what-it-never-read",
        "hash-not-verified": "bit-rot-on-one-copy",
        "one-node-counted-twice": "write-quorum-lost-mid-write",
        "empty-disk-answers": "lost-disk",
        "fallback-counted-for-strong": "fallbacks-are-no-owners",
        "tombstone-reaped-on-silence": "node-away-for-a-while",
        "tombstone-reaped-early": "messages-later-than-the-delete",
        "last-reference-alone": "contents-used-again-while-a-node-is-away",
        "vote-forgotten": "voters-lose-their-power",
        "minority-decides": "operators-commit-at-once",
        "source-removed-unsynced": "power-cut-after-compaction",
        "new-owners-read-early": "all-owners-are-replaced",
        "old-owners-not-written": "change-is-given-up",
        "switched-before-pulled": "all-owners-are-replaced",
        "old-version-accepted": "all-owners-are-replaced",
        "chunks-not-pulled": "all-owners-are-replaced",
        "empty-disk-votes": "voter-loses-its-disk",
        "read-without-repair": "half-written-is-read",
        "hedges-without-budget": "every-replica-slow",
        "hint-removed-before-ack": "hints-bring-back-what-was-missed",
    }.get(name)
    found = sweep(range(200), scenario, plant=name)
    assert found.failed is not None
    print(f"found by seed {found.failed[0]}: {found.failed[1].failure}")


def test_failing_plan_is_made_smaller() -> None:
    """What is left still fails, with less of everything."""
    name = "stamp-not-raised"
    with planted(name):
        seed, checker = next(
            (seed, outcome.checker) for seed in range(200) if (outcome := run_plan(draw_plan(seed))).failure
        )
        plan = draw_plan(seed)
        smaller = Shrinker(lambda one: run_plan(one).checker == checker, runs_max=60).shrink(plan)
        assert run_plan(smaller).checker == checker
    assert sum(smaller.size) < sum(plan.size) / 2
    assert not run_plan(smaller).failure
