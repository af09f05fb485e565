"""Checkers on runs that must fail: a checker that never complains proves nothing."""

import asyncio
import math

import pytest

from dynafs.causality import Stamp
from dynafs.files import Record, Version, VersionKind
from dynafs.healing.anti_entropy import AntiEntropy
from dynafs.healing.scrub import Scrubber
from dynafs.jobs.tasks import BoundedTasks
from dynafs.operations.node_status import StatusSurvey
from dynafs.sim.checkers import (
    Converged,
    Linearizable,
    ListingsComplete,
    NoErrors,
    NothingLost,
    NothingPending,
    NothingWasted,
    StampsOrdered,
    TombstonesGone,
    all_checkers,
    check_limits,
    living_chunks,
)
from dynafs.sim.client import SimClient, Target
from dynafs.sim.errors import PromiseBroken
from dynafs.sim.history import History, SeenListing
from dynafs.sim.loop import run_virtually
from dynafs.sim.options import WorldOptions
from dynafs.sim.run import run_script
from dynafs.sim.trace import Trace
from dynafs.sim.world import World
from dynafs.wire.records import encode_record

FILE = Target("demo", "f")


def after_two_writes(spoil) -> None:
    """Write demo/f twice to three nodes, then hand world and history to `spoil`."""

    async def main() -> None:
        trace = Trace(asyncio.get_running_loop().time)
        trace.capture_logs()
        world, history = World(WorldOptions(seed=1), trace), History()
        world.start()
        await world.wait_connected()
        client = SimClient(world, history)
        assert await client.put("n1", FILE, "v1", 5000)
        assert await client.put("n2", FILE, "v2", 5000)
        await asyncio.sleep(1)
        spoil(world, history)
        for name in world.names:
            world.nodes[name].stop(is_dark=True)

    run_virtually(main())


def forget(world: World, family: str, name: str) -> None:
    """Drop everything of one kind from a node's index."""
    world.nodes[name].platter.index.tables[family].clear()


def test_good_run_passes_them_all() -> None:
    """What is right is not complained about."""

    def check(world: World, history: History) -> None:
        for checker in all_checkers([]):
            checker.check(world, history)
        check_limits(world)

    after_two_writes(check)


def test_lost_record_and_chunk_are_seen() -> None:
    """One copy gone breaks convergence, all gone break durability."""

    def check(world: World, history: History) -> None:
        forget(world, "chunks", "n3")
        with pytest.raises(PromiseBroken, match="is missing on n3"):
            Converged().check(world, history)
        forget(world, "records", "n1")
        with pytest.raises(PromiseBroken, match="different records"):
            Converged().check(world, history)
        NothingLost().check(world, history)
        for name in world.names:
            forget(world, "records", name)
        with pytest.raises(PromiseBroken, match="hold None"):
            NothingLost().check(world, history)

    after_two_writes(check)


def test_what_nothing_uses_is_seen() -> None:
    """The chunks of the first write, as long as they are there; a hint; a record of others; a delete remembered."""

    def check(world: World, history: History) -> None:
        with pytest.raises(PromiseBroken, match="which nothing uses"):
            NothingWasted().check(world, history)
        living = living_chunks(world)
        for node in world.nodes.values():
            for chunk_id in set(node.platter.index.tables["chunks"]) - living:
                del node.platter.index.tables["chunks"][chunk_id]
        NothingWasted().check(world, history)
        TombstonesGone().check(world, history)
        world.nodes["n1"].platter.index.tables["hints"][b"n2\0rdemo\0f"] = b""
        with pytest.raises(PromiseBroken, match="still keeps hints"):
            NothingWasted().check(world, history)
        tombstone = Version(Stamp(1, "n1-g1"), VersionKind.TOMBSTONE)
        world.nodes["n1"].platter.index.tables["records"][b"demo\0g"] = encode_record(Record.of({}, [tombstone]))
        with pytest.raises(PromiseBroken, match="was deleted"):
            TombstonesGone().check(world, history)

    after_two_writes(check)


def test_deleted_file_that_is_back_is_seen() -> None:
    """An acknowledged delete leaves only itself and what was not finished before it."""

    def check(world: World, history: History) -> None:
        history.wrote("demo/f", None, 10.0, 11.0)
        with pytest.raises(PromiseBroken, match="hold v2"):
            NothingLost().check(world, history)
        history.wrote("demo/f", "v2", 9.0)
        NothingLost().check(world, history)

    after_two_writes(check)


def test_what_is_left_under_way_is_seen() -> None:
    """A held budget, a task."""

    def check(world: World, history: History) -> None:
        holding = world.nodes["n2"].replication.seats.try_take(10)
        with pytest.raises(PromiseBroken, match="n2 still has bytes of uploads: 10"):
            NothingPending().check(world, history)
        holding.release()
        world.nodes["n2"].replication.seats.held_bytes = 1 << 40
        with pytest.raises(PromiseBroken, match="upload seat bytes"):
            check_limits(world)

    after_two_writes(check)


def test_error_events_and_crashes_are_seen_unless_a_fault_explains_them() -> None:
    """store.failed is explained by a full disk, and by nothing else."""

    def check(world: World, history: History) -> None:
        world.trace.errors.append(("n1", "store.failed", {}))
        NoErrors(["full_disk"]).check(world, history)
        with pytest.raises(PromiseBroken, match=r"store\.failed"):
            NoErrors(["kill"]).check(world, history)
        world.crashes.append("boom")
        with pytest.raises(PromiseBroken, match="boom"):
            NoErrors(["full_disk"]).check(world, history)

    after_two_writes(check)


@pytest.mark.parametrize("place", [(Scrubber, "_scrub"), (StatusSurvey, "stored_bytes"), (AntiEntropy, "on_peer_up")])
def test_bug_that_production_survives_fails_a_run(place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node goes on after a bug in a job or a task; a simulation of it does not pass."""

    def fail(*_: object) -> None:
        raise KeyError("a bug")

    async def script(world: World, history: History) -> None:
        for name in world.names:
            job = world.nodes[name].replication.jobs["scrub"]
            job.hurry()
        if place[0] is StatusSurvey:
            BoundedTasks("repair", 1).begin(_call(world.nodes["n1"].replication.stored_bytes))
        await asyncio.sleep(5)

    async def _call(work) -> None:
        work()

    monkeypatch.setattr(*place, fail)
    outcome = run_script(WorldOptions(seed=1), script, ["kill", "full_disk", "sync_failure"])
    assert (outcome.checker, "a bug" in outcome.failure) == ("errors", True), outcome.failure


def test_stale_read_is_seen() -> None:
    """A value that was overwritten before the read began."""
    history = History()
    history.wrote("b/f", "v1", 0, 1)
    history.wrote("b/f", "v2", 2, 3)
    history.read("b/f", "v1", 4, 5)
    with pytest.raises(PromiseBroken, match="no order explains"):
        Linearizable().check(None, history)


def test_stamps_out_of_order_are_seen() -> None:
    """Only writes one of which ended before the other began are compared."""
    history = History()
    history.stamps["b/f"] = [(0, 2, "5-a"), (1, 3, "4-b")]
    StampsOrdered().check(None, history)
    history.stamps["b/f"].append((4, 5, "5-a"))
    with pytest.raises(PromiseBroken, match="after 5-a"):
        StampsOrdered().check(None, history)


@pytest.mark.parametrize(
    ("writes", "paths", "problem"),
    [
        ([("v", 0, 1)], (), "is not listed"),
        ([("v", 0, 1), (None, 2, 3)], ("f",), "is deleted"),
        ([], ("f",), "never was"),
        ([("v", 0, 1)], ("f",), None),
        ([("v", 0, 1), (None, 2, math.inf)], (), None),
        ([("v", 0, math.inf)], ("f",), None),
        ([("v", 0, 1), (None, 2, 3), ("w", 4, 12)], (), None),
    ],
)
def test_listings_are_weighed(writes: list, paths: tuple[str, ...], problem: str | None) -> None:
    """A listing from 10 to 11 against what was written before and during it."""
    history = History()
    history.files["b/f"] = []
    for value, called, returned in writes:
        history.wrote("b/f", value, called, returned)
    history.listings.append(SeenListing("b", "", paths, 10.0, 11.0))
    if problem is None:
        ListingsComplete().check(None, history)
    else:
        with pytest.raises(PromiseBroken, match=problem):
            ListingsComplete().check(None, history)
