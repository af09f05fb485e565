"""The contract of background jobs, in virtual time."""

import asyncio
import itertools
import random

from dynafs.errors import StoreFailed
from dynafs.observe.bugs import go_on
from dynafs.replication.job import Job
from dynafs.sim.clock import SimClock
from dynafs.sim.loop import run_virtually


class Worker:
    """Takes three steps of a second each, and writes down when."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []
        self.fails = False
        self.bug: Exception | None = None

    async def __call__(self, job: Job) -> None:
        for number in range(3):
            await job.step(1.0)
            self.steps.append((number, asyncio.get_running_loop().time()))
        if self.fails:
            raise StoreFailed("the disk is on fire")
        if self.bug is not None:
            raise self.bug


def run_job(script, interval_s: float | None = 100.0) -> Worker:
    """Run a job in virtual time while a script does things to it."""
    worker = Worker()

    async def main() -> None:
        clock = SimClock(asyncio.get_running_loop().time, random.Random(1))
        job = Job("work", worker, clock, interval_s)
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
        worker.fails = True
        job.hurry()
        await asyncio.sleep(10)
        assert (job.status.runs, job.status.last_error) == (0, "the disk is on fire")
        worker.fails = False
        await asyncio.sleep(1000)
        assert job.status.runs > 3

    run_job(script)


def test_job_survives_a_bug_says_so_and_tries_again() -> None:
    """It is reported once a run, the pause grows, and a run that goes well ends the matter."""
    bugs: list[BaseException] = []

    async def script(job: Job, worker: Worker) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))
        worker.bug = ZeroDivisionError("a bug")
        job.hurry()
        await asyncio.sleep(4)
        assert (job.status.state, job.status.failures, job.status.runs) == ("failed", 1, 0)
        assert "ZeroDivisionError" in job.status.last_error
        await asyncio.sleep(60)
        assert 3 <= job.status.failures == len(bugs) <= 8
        worker.bug = None
        job.hurry()
        await asyncio.sleep(4)
        assert (job.status.state, job.status.runs, job.status.last_error) == ("idle", 1, "")

    run_job(script, 3600)


def test_job_that_runs_only_when_asked_is_not_tried_again_after_a_bug() -> None:
    """Who asked sees that it failed; asking again runs it."""

    async def script(job: Job, worker: Worker) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        worker.bug = ZeroDivisionError("a bug")
        job.start_now()
        await asyncio.sleep(600)
        assert (job.status.state, job.status.failures, job.is_asked_for) == ("failed", 1, False)
        worker.bug = None
        job.start_now()
        await asyncio.sleep(10)
        assert (job.status.state, job.status.runs) == ("idle", 1)

    run_job(script, None)


def test_work_that_lasts_begins_again_after_a_bug() -> None:
    """Until it ends by itself."""
    bugs: list[str] = []
    begun: list[float] = []

    async def work() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) < 4:
            raise KeyError("a bug")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["message"]))
        await go_on("watching", work)

    run_virtually(main())
    assert bugs == ["watching"] * 3
    assert [round(at_s - begun[0]) for at_s in begun] == [0, 1, 3, 7]
