"""Many seeds on all cores, with a progress bar, until one fails or the time is over."""

import gc
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dynafs.sim.plan import draw_plan
from dynafs.sim.planting import planted
from dynafs.sim.run import Outcome, run_plan
from dynafs.sim.scenarios import run_scenario

#: Allocations between two collections of cyclic garbage: rare ones save a tenth of the time.
GC_THRESHOLD = 100_000
#: Seeds one process takes at a time.
CHUNK_SEEDS = 5


@dataclass
class Sweep:
    """What came of a sweep. failed: the lowest seed that failed, with its outcome."""

    seeds: int = 0
    virtual_s: float = 0.0
    real_s: float = 0.0
    core_s: float = 0.0
    events: int = 0
    failed: tuple[int, Outcome] | None = None

    @property
    def speed(self) -> float:
        """Virtual seconds per second of one core."""
        return self.virtual_s / max(self.core_s, 1e-9)


def run_seed(seed: int, scenario: str | None = None, plant: str | None = None) -> Outcome:
    """Run one seed: of a scenario by its name, else of the random plan."""
    with planted(plant):
        return run_scenario(scenario, seed) if scenario else run_plan(draw_plan(seed))


def _run_some(seeds: range, scenario: str | None, plant: str | None) -> tuple[list[tuple[int, Outcome]], float]:
    started_s = time.perf_counter()
    outcomes: list[tuple[int, Outcome]] = []
    for seed in seeds:
        outcomes.append((seed, run_seed(seed, scenario, plant)))
        if outcomes[-1][1].failure:
            break
    return outcomes, time.perf_counter() - started_s


def sweep(
    seeds: range, scenario: str | None = None, plant: str | None = None,
    *, minutes: float | None = None, jobs: int | None = None, console: Console | None = None,
) -> Sweep:  # fmt: skip
    """Run seeds in order on `jobs` processes (default: all cores) until all passed or one failed.

    Ends early when minutes are over or somebody presses Ctrl-C; what is under way then is finished.
    """
    jobs = jobs or os.cpu_count() or 1
    started_s = time.perf_counter()
    deadline_s = started_s + minutes * 60 if minutes is not None else float("inf")
    result = Sweep()
    waiting = (seeds[start : start + CHUNK_SEEDS] for start in range(0, len(seeds), CHUNK_SEEDS))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        ProcessPoolExecutor(jobs, get_context("spawn"), _prepare_process) as pool,
        Progress(*columns, console=console, disable=console is None) as progress,
    ):
        bar = progress.add_task(scenario or "random plans", total=len(seeds))
        running: set[Future[tuple[list[tuple[int, Outcome]], float]]] = set()
        with suppress(KeyboardInterrupt):
            while result.failed is None and time.perf_counter() < deadline_s:
                parts = _take(waiting, jobs - len(running))
                running |= {pool.submit(_run_some, part, scenario, plant) for part in parts}
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    _add(result, *future.result())
                progress.update(bar, completed=result.seeds)
        # A lower seed that is still under way may fail as well: the lowest one is told.
        for future in running:
            _add(result, *future.result())
    result.real_s = time.perf_counter() - started_s
    return result


def _prepare_process() -> None:
    """Leave interrupts to the parent, and garbage where it is for a while."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def _take(parts: Iterator[range], count: int) -> list[range]:
    return list(islice(parts, count))


def _add(result: Sweep, outcomes: list[tuple[int, Outcome]], core_s: float) -> None:
    result.core_s += core_s
    for seed, outcome in outcomes:
        result.seeds += 1
        result.virtual_s += outcome.virtual_s
        result.events += outcome.events
        if outcome.failure and (result.failed is None or seed < result.failed[0]):
            result.failed = (seed, outcome)
