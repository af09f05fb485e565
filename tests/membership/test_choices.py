"""Small choices that replication makes: names of actors, order of peers, pace of jobs, marks of disks."""

import asyncio
import random

import pytest

from dynafs.causality import Stamp
from dynafs.config import StorageSettings
from dynafs.errors import PolicyRefused, StoreFull, TooManyActors
from dynafs.jobs.job import Job, JobStatus
from dynafs.jobs.throttle import JUDGE_EVERY_S, QUIET_S, SHARE_MIN, Throttle
from dynafs.membership.latency import FORGOTTEN_S, PeerLatency
from dynafs.quorum import QuorumPolicy
from dynafs.replica.actors import ACTORS_MAX, ActorNames
from dynafs.sim.clock import SimClock
from dynafs.sim.loop import run_virtually
from dynafs.storage.marks import BELIEVED_S, DiskMarks


def test_actor_is_kept_as_long_as_what_is_held_covers_it() -> None:
    """An owner stamps under its own name; a fallback that let its copy go takes a new one."""
    names = ActorNames()
    assert names.name(b"k", Stamp(1, "a"), {}, is_owner=True) == Stamp(1, "a")
    assert names.name(b"k", Stamp(2, "a"), {"a": 1}, is_owner=True) == Stamp(2, "a")
    assert names.name(b"k", Stamp(3, "a"), {"a": 1}, is_owner=True).actor != "a"
    first = names.name(b"f", Stamp(4, "a"), {}, is_owner=False)
    assert first.actor != "a"
    assert names.name(b"f", Stamp(5, "a"), {first.actor: 4}, is_owner=False).actor == first.actor
    assert names.name(b"f", Stamp(6, "a"), {}, is_owner=False).actor not in ("a", first.actor)


def test_names_of_a_record_are_bounded() -> None:
    """Where there are enough, only names that are there, and owners' own, are used; a refusal is forgotten."""
    names, full = ActorNames(), {f"a{number}": number for number in range(ACTORS_MAX)}
    assert names.name(b"f", Stamp(1000, "n1-g"), full, is_owner=True).actor == "n1-g"
    with pytest.raises(TooManyActors):
        names.name(b"f", Stamp(1001, "n1-g"), full, is_owner=True)
    with pytest.raises(TooManyActors):
        names.name(b"other", Stamp(1001, "n1-g"), full, is_owner=False)
    assert names.is_covered(b"other", {})
    assert not names.is_covered(b"f", full)
    assert names.is_covered(b"f", {**full, "n1-g": 1000})
    assert names.name(b"f", Stamp(1002, "n1-g"), {**full, "n1-g": 1000}, is_owner=False) == Stamp(1002, "n1-g")


def test_slow_peer_is_asked_last_until_it_is_forgotten() -> None:
    """Order is kept among the others; one fast answer after a while does not need to be believed at once."""
    now_s = 0.0
    speeds = PeerLatency(lambda: now_s)
    assert speeds.slow_last(["n2", "n3"]) == ["n2", "n3"]
    speeds.add("n2", 0.5)
    speeds.add("n3", 0.001)
    assert speeds.slow_last(["n1", "n2", "n3"]) == ["n1", "n3", "n2"]
    now_s = FORGOTTEN_S + 1
    assert speeds.slow_last(["n1", "n2", "n3"]) == ["n1", "n2", "n3"]


def test_small_differences_do_not_reorder_peers() -> None:
    """Within a few milliseconds nearness decides."""
    speeds = PeerLatency(lambda: 0.0)
    speeds.add("n2", 0.004)
    speeds.add("n3", 0.0001)
    assert speeds.slow_last(["n2", "n3"]) == ["n2", "n3"]


def test_available_quorums_need_not_overlap_and_may_be_lowered() -> None:
    """But stay within the number of copies."""
    policy = QuorumPolicy(3, 1, 1, is_available=True)
    policy.check()
    assert QuorumPolicy(3, 2, 2, is_available=True).override(1, None).r == 1
    with pytest.raises(PolicyRefused):
        policy.override(4, None)


def test_job_hurried_while_it_runs_runs_again() -> None:
    """What was asked for during a run is not forgotten; a limit changes the pace at once."""
    starts: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def work(job: Job) -> None:
            starts.append(loop.time())
            await job.step(job.pace_s(100, 100))

        job = Job(JobStatus("work"), work, SimClock(loop.time, random.Random(1)), None)
        job.start()
        await asyncio.sleep(50)
        assert starts == []
        job.hurry()
        await asyncio.sleep(0.5)
        job.hurry()
        job.limit(10)
        await asyncio.sleep(50)
        assert len(starts) == 2
        assert job.status.bytes_per_s_max == 10
        await job.close()

    run_virtually(main())


def test_job_tells_how_fast_it_moves_and_makes_room_for_clients() -> None:
    """At its pace while nobody waits, with long pauses while clients are late, and not at all when it is done."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        throttle, latency_s = Throttle(loop.time), 0.003

        async def ask() -> None:
            while True:
                throttle.add("read", latency_s)
                await asyncio.sleep(0.02)

        async def work(job: Job) -> None:
            for _ in range(1000):
                await job.step(job.pace_s(100, 1000))

        job = Job(JobStatus("work"), work, SimClock(loop.time, random.Random(1)), None, throttle)
        job.start()
        clients = asyncio.create_task(ask())
        await asyncio.sleep(5)
        job.hurry()
        await asyncio.sleep(20)
        assert 900 <= job.status.bytes_per_s <= 1100
        assert job.status.share == 1.0
        latency_s = 0.1
        await asyncio.sleep(40)
        assert 0 < job.status.bytes_per_s <= 100
        assert job.status.share == round(SHARE_MIN, 3)
        latency_s = 0.003
        await asyncio.sleep(200)
        assert (job.status.state, job.status.bytes_per_s) == ("idle", 0)
        clients.cancel()
        await job.close()

    run_virtually(main())


def test_marks_follow_the_disk_and_what_was_written_since() -> None:
    """Reached by writing, lifted by space that somebody else freed."""

    class Disk:
        free_bytes = 150

        def room_bytes(self) -> tuple[int, int]:
            return 1000, self.free_bytes

    async def main() -> None:
        disk = Disk()
        marks = DiskMarks(disk, StorageSettings(soft_mark=0.9, hard_mark=0.95, reserve_mark=0.98))
        marks.check(is_for_others=True)
        marks.add(60)
        with pytest.raises(StoreFull, match="soft"):
            marks.check(is_for_others=True)
        marks.check()
        marks.add(50)
        with pytest.raises(StoreFull, match="hard"):
            marks.check()
        marks.check_reserve()
        marks.add(30)
        with pytest.raises(StoreFull, match="reserve"):
            marks.check_reserve()
        disk.free_bytes = 500
        await asyncio.sleep(2 * BELIEVED_S)
        marks.check(is_for_others=True)

    run_virtually(main())


def test_work_gives_way_while_clients_wait_longer_than_without_it() -> None:
    """Its share falls to a least one, whichever kind of request is late, and comes back; too few say nothing."""
    now_s = 0.0
    throttle = Throttle(lambda: now_s)

    def serve(seconds: float, kinds: dict[str, float]) -> float:
        """Have clients ask for a while, with work going on; return the share at its end."""
        nonlocal now_s
        for _ in range(round(seconds / 0.01)):
            now_s += 0.01
            for kind, latency_s in kinds.items():
                throttle.add(kind, latency_s)
            if is_working:
                throttle.share()
        return throttle.share()

    is_working = False
    now_s = QUIET_S
    serve(3.0, {"read": 0.003, "write": 0.010})
    is_working = True
    assert serve(2.0, {"read": 0.003, "write": 0.010}) == 1.0
    assert serve(4.0, {"read": 0.003, "write": 0.020}) < 0.2
    assert serve(30.0, {"read": 0.006, "write": 0.010}) == SHARE_MIN
    assert 0.2 < serve(6.0, {"read": 0.003, "write": 0.010}) <= 1.0
    serve(4.0, {"read": 0.009})
    for _ in range(40):
        now_s += JUDGE_EVERY_S
        throttle.share()
    assert throttle.share() == 1.0


def test_work_that_never_ends_learns_what_is_normal_meanwhile() -> None:
    """A node that is never without work takes the best it has seen for normal; too few requests say nothing."""
    now_s = 0.0
    throttle = Throttle(lambda: now_s)

    def serve(count: int, latency_s: float) -> float:
        nonlocal now_s
        for _ in range(count):
            now_s += 0.01
            throttle.add("read", latency_s)
            throttle.share()
        return throttle.share()

    assert serve(10, 1.0) == 1.0
    now_s += 10.0
    assert serve(500, 0.008) == 1.0
    assert serve(500, 0.003) == 1.0
    assert serve(500, 0.008) < 0.2
