"""The contract of background jobs, in virtual time."""

import asyncio
import itertools
import random

import pytest

from dynafs.errors import StoreFailed
from dynafs.jobs.job import Job, JobStatus
from dynafs.observe import metrics
from dynafs.sim.clock import SimClock
from dynafs.sim.loop import run_virtually


class Worker:
    """Takes three steps of a second each, and writes down when."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []
        self.error: BaseException | None = None
        self.notes: StoreFailed | None = None

    async def __call__(self, job: Job) -> None:
        for number in range(3):
            await job.step(1.0)
            self.steps.append((number, asyncio.get_running_loop().time()))
        if self.notes is not None:
            job.note(self.notes)
        if self.error is not None:
            raise self.error


def run_job(script, interval_s: float | None = 100.0) -> Worker:
    """Run a job in virtual time while a script does things to it."""
    worker = Worker()

    async def main() -> None:
        clock = SimClock(asyncio.get_running_loop().time, random.Random(1))
        job = Job(JobStatus("work"), worker, clock, interval_s)
        job.start()
        await script(job, worker)
        await job.close()

    run_virtually(main())
    return worker


def test_job_runs_at_every_interval_give_or_take_half() -> None:
    """Nodes that were started together do not work in step for ever."""

    async def script(job: Job, worker: Worker) -> None:
        await asyncio.sleep(1000)
        assert job.status.runs == len(worker.steps) / 3

    starts = [at_s for number, at_s in run_job(script).steps if number == 0]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert len(starts) > 5
    assert all(50 <= pause <= 154 for pause in pauses)
    assert len({round(pause) for pause in pauses}) > 2


def test_hurried_job_runs_now() -> None:
    """Without waiting for its interval."""

    async def script(job: Job, worker: Worker) -> None:
        await asyncio.sleep(10)
        job.hurry()
        await asyncio.sleep(5)
        assert (job.status.runs, job.status.state) == (1, "idle")

    assert [round(at_s) for _, at_s in run_job(script, 3600).steps] == [11, 12, 13]


def test_job_started_by_hand_goes_on_if_it_was_paused() -> None:
    """And says at once that it is about to."""

    async def script(job: Job, worker: Worker) -> None:
        job.pause()
        await asyncio.sleep(10)
        job.start_now()
        assert (job.status.state, job.is_asked_for) == ("starting", True)
        await asyncio.sleep(10)
        assert (job.status.runs, job.status.state, job.is_asked_for) == (1, "idle", False)

    run_job(script, 3600)


def test_job_asked_for_in_the_middle_of_a_run_runs_once_more() -> None:
    """The run that began before has seen a part already; in between it never looks as if nothing were to come."""

    async def script(job: Job, worker: Worker) -> None:
        job.start_now()
        await asyncio.sleep(1.5)
        job.pause()
        await asyncio.sleep(10)
        job.start_now()
        assert (job.status.begun, job.status.runs) == (1, 0)
        turns = 0
        while job.status.runs < 2:
            assert job.status.state in ("starting", "busy")
            assert job.is_asked_for
            turns += 1
            await asyncio.sleep(0 if turns % 8 else 0.25)
        assert (job.status.begun, job.status.state, job.is_asked_for) == (2, "idle", False)

    run_job(script, None)


def test_pace_of_an_operator_gives_way_to_the_job_s_own() -> None:
    """Also before the next run."""

    async def script(job: Job, worker: Worker) -> None:
        job.status.bytes_per_s_max = 100
        for limit, shown in ((5, 5), (7, 7), (None, 100), (None, 100), (3, 3)):
            job.limit(limit)
            assert job.status.bytes_per_s_max == shown
        assert job.pace_s(30, 200) == 10
        job.limit(None)
        assert job.status.bytes_per_s_max == 200

    run_job(script)


def test_paused_job_stops_between_two_steps_and_goes_on_there() -> None:
    """Nothing is done twice and nothing is left out."""

    async def script(job: Job, worker: Worker) -> None:
        job.hurry()
        await asyncio.sleep(1.5)
        job.pause()
        await asyncio.sleep(100)
        assert (len(worker.steps), job.status.state) == (1, "paused")
        job.resume()
        await asyncio.sleep(5)
        assert (len(worker.steps), job.status.state) == (3, "idle")

    assert [number for number, _ in run_job(script, 3600).steps] == [0, 1, 2]


def test_job_paused_while_idle_does_not_begin() -> None:
    """Until it is resumed."""

    async def script(job: Job, worker: Worker) -> None:
        job.pause()
        job.hurry()
        await asyncio.sleep(1000)
        assert (worker.steps, job.status.state) == ([], "paused")
        job.resume()
        await asyncio.sleep(10)
        assert job.status.runs == 1

    run_job(script)


def test_failure_is_shown_and_the_next_run_comes() -> None:
    """One bad run is not the last."""

    async def script(job: Job, worker: Worker) -> None:
        worker.error = StoreFailed("the disk is on fire")
        job.hurry()
        await asyncio.sleep(10)
        assert (job.status.runs, job.status.last_error) == (0, "the disk is on fire")
        worker.error = None
        await asyncio.sleep(1000)
        assert job.status.runs > 3
        assert (job.status.failures, job.status.last_error) == (1, "")

    run_job(script)


def failures(code: str) -> float:
    return metrics.REGISTRY.get_sample_value("dynafs_job_failures_total", {"job": "work", "code": code}) or 0.0


@pytest.mark.parametrize("bug", [AssertionError("not so"), KeyError("k"), asyncio.CancelledError("an inner call")])
def test_job_survives_a_bug_and_runs_again(bug: BaseException, events: list[dict]) -> None:
    """It is shown and counted, logged once with its traceback, and gone after a run that goes well."""
    before = failures("internal_error")

    async def script(job: Job, worker: Worker) -> None:
        worker.error = bug
        job.hurry()
        await asyncio.sleep(60)
        assert (job.status.state, job.status.runs) == ("failed", 0)
        assert job.status.last_error == f"{type(bug).__name__}: {bug}"
        assert job.status.failures >= 3
        assert failures("internal_error") - before == job.status.failures
        worker.error = None
        await asyncio.sleep(200)
        assert (job.status.state, job.status.last_error) == ("idle", "")
        assert job.status.runs >= 1

    run_job(script, 3600)
    (event,) = (one for one in events if one["event"] == "job.failed")
    assert (event["job"], event["log_level"], event["exc_info"]) == ("work", "error", bug)


def test_pauses_after_bugs_grow_to_a_bound() -> None:
    """However often a job fails, it neither spins nor gives up."""

    async def script(job: Job, worker: Worker) -> None:
        worker.error = AssertionError()
        job.hurry()
        await asyncio.sleep(5000)
        assert job.status.last_error == "AssertionError"

    starts = [at_s for number, at_s in run_job(script, 3600).steps if number == 0]
    # A run takes three seconds itself.
    pauses = [later - earlier - 3 for earlier, later in itertools.pairwise(starts)]
    for number, pause in enumerate(pauses):
        expected = min(2.0**number, 300.0)
        assert 0.49 * expected <= pause <= 1.51 * expected
    assert len({round(pause / min(2.0**number, 300.0), 2) for number, pause in enumerate(pauses)}) > 3
    assert len(pauses) > 12


@pytest.mark.parametrize("act", [Job.hurry, Job.start_now])
def test_failed_job_runs_at_once_when_it_is_hurried(act) -> None:
    """An operator need not wait for the pause to end, nor a node that has something to do."""

    async def script(job: Job, worker: Worker) -> None:
        worker.error = AssertionError()
        job.hurry()
        await asyncio.sleep(600)
        worker.error = None
        assert job.status.state == "failed"
        act(job)
        await asyncio.sleep(4)
        assert (job.status.state, job.status.runs) == ("idle", 1)

    run_job(script, 3600)


def test_job_that_hurries_itself_and_fails_waits_nevertheless() -> None:
    """What hurried it before the bug does not make it spin."""

    class Hurried(Worker):
        async def __call__(self, job: Job) -> None:
            self.steps.append((0, asyncio.get_running_loop().time()))
            job.hurry(0.1)
            raise AssertionError

    worker = Hurried()

    async def main() -> None:
        clock = SimClock(asyncio.get_running_loop().time, random.Random(1))
        job = Job(JobStatus("work"), worker, clock, 3600)
        job.start()
        job.hurry()
        await asyncio.sleep(100)
        await job.close()

    run_virtually(main())
    assert 4 <= len(worker.steps) <= 10


def test_failed_job_that_runs_when_asked_for_waits_to_be_asked_again() -> None:
    """A census that met a bug is not taken again by itself; it says so until then."""

    async def script(job: Job, worker: Worker) -> None:
        worker.error = AssertionError()
        job.start_now()
        await asyncio.sleep(10_000)
        assert (job.status.state, job.status.failures, len(worker.steps)) == ("failed", 1, 3)
        job.pause()
        job.resume()
        await asyncio.sleep(1)
        assert job.status.state == "failed"
        job.start_now()
        assert job.status.state == "starting"
        await asyncio.sleep(10)
        assert job.status.failures == 2

    run_job(script, None)


def test_error_noted_in_a_run_that_goes_on_is_shown_until_the_next_one() -> None:
    """A peer that was away is of interest until a run met no error."""

    async def script(job: Job, worker: Worker) -> None:
        worker.notes = StoreFailed("a bad row")
        job.hurry()
        await asyncio.sleep(10)
        assert (job.status.runs, job.status.failures, job.status.last_error) == (1, 0, "a bad row")
        worker.notes = None
        job.hurry()
        await asyncio.sleep(10)
        assert (job.status.runs, job.status.last_error) == (2, "")

    run_job(script, 3600)


def test_job_that_is_closed_ends() -> None:
    """Its own cancellation is no bug."""

    async def script(job: Job, worker: Worker) -> None:
        job.hurry()
        await asyncio.sleep(1.5)
        async with asyncio.timeout(1):
            await job.close()
        assert (job.status.failures, job.status.last_error) == (0, "")

    run_job(script)
