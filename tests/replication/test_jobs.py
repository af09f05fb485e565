"""The contract of background jobs, in virtual time."""

import asyncio
import itertools
import random

from dynafs.errors import StoreFailed
from dynafs.replication.job import Job
from dynafs.sim.clock import SimClock
from dynafs.sim.loop import run_virtually


class Worker:
    """Takes three steps of a second each, and writes down when."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []
        self.fails = False

    async def __call__(self, job: Job) -> None:
        for number in range(3):
            await job.step(1.0)
            self.steps.append((number, asyncio.get_running_loop().time()))
        if self.fails:
            raise StoreFailed("the disk is on fire")


def run_job(script, interval_s: float = 100.0) -> Worker:
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
