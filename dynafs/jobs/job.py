"""Background jobs: one contract for all of them. A job works in small steps, and between any two of them it can be
paused, hurried, and looked at."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from dynafs.errors import DynafsError
from dynafs.jobs.throttle import Throttle
from dynafs.observe import metrics
from dynafs.observe.supervision import described, log_bug, outcome_of, supervised
from dynafs.ports import Clock

#: Pause after a run that met a bug, twice as long after each further one in a row, and the longest; jittered.
FAILED_PAUSE_S_MIN, FAILED_PAUSE_S_MAX = 1.0, 300.0
#: How long bytes are counted for one figure of a job's rate.
RATE_WINDOW_S = 2.0
#: Longest pause for the sake of clients.
STEP_PAUSE_S_MAX = 2.0
#: The least share of the time that clients leave a run that an operator waits for.
ASKED_FOR_SHARE_MIN = 0.5


class JobStatus(msgspec.Struct):
    """What operators see. Counts are since the node started.

    state: "idle", "starting", "busy", "paused", or "failed" after a run that met a bug, until the next one begins.
    begun: runs that began. runs: those that went well. failures: those that ended with an error.
    last_error: of the last run that ended, or of the present one so far; empty when that run met none.
    bytes_per_s: moved at present. bytes_per_s_max: the pace it may have, None for a job that moves no contents.
    """

    name: str
    state: str = "idle"
    is_paused: bool = False
    begun: int = 0
    runs: int = 0
    failures: int = 0
    items: int = 0
    mended: int = 0
    queued: int = 0
    bytes_per_s: int = 0
    bytes_per_s_max: int | None = None
    #: of the time, above 0 to 1, that clients leave it at present
    share: float = 1.0
    last_error: str = ""


class Job:
    """Runs `work` at every interval, jittered, and whenever it is hurried.

    After an error of ours the next run comes at the interval. After any other exception, a bug, it comes after a pause
    that grows with every such run in a row; a job without an interval waits until it is asked for again.
    """

    def __init__(
        self,
        status: JobStatus,
        work: Callable[["Job"], Awaitable[None]],
        clock: Clock,
        interval_s: float | None,
        throttle: Throttle | None = None,
    ) -> None:
        """interval_s: None to run only when asked to. throttle: makes the job give way to clients."""
        self.status = status
        self._work, self._clock, self._interval_s, self._throttle = work, clock, interval_s, throttle
        self._next_s = self._due_s()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: set by an operator, instead of the job's own pace
        self._limit_bytes_per_s: int | None = None
        #: the job's own pace, while an operator's replaces it
        self._own_bytes_per_s: int | None = None
        #: whether somebody waits for the present run, or the next one; and whether for one after the present
        self.is_asked_for = self._is_asked_again = False
        #: when the present piece of work began
        self._stepped_s = clock.monotonic_s()
        #: bytes moved in the present window, and when it began
        self._moved_bytes, self._moved_since_s = 0, clock.monotonic_s()
        #: bugs met in a row, and the last of them; state between two runs
        self._bugs, self._bug, self._rest_state = 0, "", "idle"
        #: whether an error was noted in the present run
        self._is_noted = False

    def start(self) -> None:
        """Begin to run now and then."""
        self._task = supervised(f"job {self.status.name}", self._run)

    async def close(self) -> None:
        """Stop, between two steps."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def hurry(self, within_s: float = 0.0) -> None:
        """Have the next run begin within some seconds."""
        self._next_s = min(self._next_s, self._clock.monotonic_s() + within_s)
        self._news.set()

    def start_now(self) -> None:
        """Run at once because somebody asked for it, going on if it was paused. A run that began before is finished,
        and another one follows: it would not show what happened meanwhile."""
        self.is_asked_for = True
        self._is_asked_again = self.status.begun > self.status.runs + self.status.failures
        if self.status.state != "busy":
            self.status.state = "starting"
        self.resume()
        self.hurry()

    def pause(self) -> None:
        """Do nothing more until `resume`."""
        self.status.is_paused = True

    def resume(self) -> None:
        """Go on where it stopped."""
        self.status.is_paused = False
        self._news.set()

    def jittered(self, pause_s: float) -> float:
        """Return something between half and one and a half of it, so that nodes do not work in step."""
        return pause_s * (0.5 + self._clock.random_bytes(1)[0] / 255)

    def pace_s(self, size_bytes: int, bytes_per_s: int) -> float:
        """Return how long this much work should take: at the job's own pace or the one that an operator set."""
        self._own_bytes_per_s = bytes_per_s
        self.status.bytes_per_s_max = self._limit_bytes_per_s or bytes_per_s
        self._note_moved(size_bytes)
        return size_bytes / self.status.bytes_per_s_max

    def _note_moved(self, size_bytes: int) -> None:
        now_s = self._clock.monotonic_s()
        self._moved_bytes += size_bytes
        if now_s - self._moved_since_s >= RATE_WINDOW_S:
            self.status.bytes_per_s = round(self._moved_bytes / (now_s - self._moved_since_s))
            self._moved_bytes, self._moved_since_s = 0, now_s

    def limit(self, bytes_per_s: int | None) -> None:
        """Set the pace from now on; None leaves it to the job."""
        if self._limit_bytes_per_s is None:
            self._own_bytes_per_s = self.status.bytes_per_s_max
        self._limit_bytes_per_s = bytes_per_s
        self.status.bytes_per_s_max = bytes_per_s or self._own_bytes_per_s

    def note(self, error: DynafsError) -> None:
        """Remember what went wrong; the job goes on."""
        self.status.last_error, self._is_noted = error.message, True

    async def step(self, pause_s: float = 0.0) -> None:
        """Between two pieces of work: wait a little, longer while clients are late, or as long as the job is paused."""
        if self._throttle is not None:
            share = max(self._throttle.share(), ASKED_FOR_SHARE_MIN if self.is_asked_for else 0.0)
            worked_s = max(self._clock.monotonic_s() - self._stepped_s, 0.0)
            pause_s = min((pause_s + worked_s) / share - worked_s, max(pause_s, STEP_PAUSE_S_MAX))
            self.status.share = round(share, 3)
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        await self._wait_while_paused()
        self._stepped_s = self._clock.monotonic_s()

    async def _wait_while_paused(self) -> None:
        while self.status.is_paused:
            self.status.state = "paused"
            await self._wait_news(None)
        self.status.state = "busy"

    def _due_s(self) -> float:
        """Return when to run next if nobody hurries it."""
        return math.inf if self._interval_s is None else self._clock.monotonic_s() + self.jittered(self._interval_s)

    async def _run(self) -> None:
        while True:
            wait_s = max(self._next_s - self._clock.monotonic_s(), 0.0)
            await self._wait_news(None if math.isinf(wait_s) else wait_s)
            if self.status.is_paused or self._clock.monotonic_s() < self._next_s:
                self.status.state = "paused" if self.status.is_paused else self._rest_state
                if self.status.is_paused:
                    await self._wait_news(None)
                continue
            await self._run_once()

    async def _run_once(self) -> None:
        self.status.state, self._next_s = "busy", math.inf
        self.status.begun += 1
        self._stepped_s = self._moved_since_s = self._clock.monotonic_s()
        self._moved_bytes, self._is_noted = 0, False
        error = await outcome_of(partial(self._work, self))
        if error is not None:
            self.status.failures += 1
            code = error.code if isinstance(error, DynafsError) else "internal_error"
            metrics.job_failures.labels(self.status.name, code).inc()
        if error is None or isinstance(error, DynafsError):
            self._settle(error)
        else:
            self._fail(error)
        self.is_asked_for = self._is_asked_again and self._next_s <= self._clock.monotonic_s()
        self._is_asked_again, self.status.bytes_per_s = False, 0
        self.status.state = "starting" if self.is_asked_for else self._rest_state

    def _settle(self, error: DynafsError | None) -> None:
        """A run went well or met an error of ours."""
        self._bugs, self._bug, self._rest_state = 0, "", "idle"
        if error is not None:
            self.note(error)
        else:
            self.status.runs += 1
            self.status.last_error = self.status.last_error if self._is_noted else ""
        # Who hurried it meanwhile wants another run.
        self._next_s = min(self._next_s, self._due_s())

    def _fail(self, error: BaseException) -> None:
        """A run met a bug. Who hurried it before it did waits, too."""
        bug = described(error)
        if bug != self._bug:
            # Once as long as it is the same.
            log_bug("job.failed", error, job=self.status.name)
        self._bugs, self._bug, self._rest_state = self._bugs + 1, bug, "failed"
        self.status.last_error = bug
        pause_s = min(FAILED_PAUSE_S_MIN * 2.0 ** min(self._bugs - 1, 30), FAILED_PAUSE_S_MAX)
        self._next_s = math.inf if self._interval_s is None else self._clock.monotonic_s() + self.jittered(pause_s)

    async def _wait_news(self, timeout_s: float | None) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return


class JobRegistry:
    """The background jobs of one node, by name, in the order in which they were added."""

    def __init__(self, clock: Clock, throttle: Throttle) -> None:
        """throttle: makes jobs give way to clients."""
        self._clock, self._throttle = clock, throttle
        self._statuses: dict[str, JobStatus] = {}
        self._jobs: dict[str, Job] = {}

    def status(self, name: str) -> JobStatus:
        """Return the status of a job, which may be added later."""
        return self._statuses.setdefault(name, JobStatus(name))

    def add(
        self,
        name: str,
        work: Callable[[Job], Awaitable[None]],
        interval_s: float | None,
        bytes_per_s_max: int | None = None,
    ) -> Job:
        """Make a job. interval_s: None to run only when asked to. bytes_per_s_max: None when it moves no contents."""
        status = self.status(name)
        status.bytes_per_s_max = bytes_per_s_max
        job = self._jobs[name] = Job(status, work, self._clock, interval_s, self._throttle)
        return job

    def __getitem__(self, name: str) -> Job:
        """Return a job that was added."""
        return self._jobs[name]

    def hurry(self, name: str, within_s: float = 0.0) -> None:
        """Have the next run of a job begin within some seconds."""
        self._jobs[name].hurry(within_s)

    @property
    def by_name(self) -> Mapping[str, Job]:
        """All jobs."""
        return self._jobs

    def start(self) -> None:
        """Begin to run now and then."""
        for job in self._jobs.values():
            job.start()

    async def close(self) -> None:
        """Stop all, each between two steps."""
        for job in self._jobs.values():
            await job.close()
