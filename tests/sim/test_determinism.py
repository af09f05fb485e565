"""One seed, one run: in any process, whatever the hash seed; and nothing from the real world gets in."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from dynafs.sim import guard
from dynafs.sim.errors import SimulationLeak, SimulationStuck
from dynafs.sim.loop import Life, SimLoop, run_virtually

SEEDS = (3, 10, 19, 27)
PROGRAM = """
import sys
from dynafs.sim.sweep import run_seed
for seed in map(int, sys.argv[1:]):
    outcome = run_seed(seed)
    print(seed, outcome.digest, outcome.events, outcome.failure)
"""


def test_same_seed_gives_the_same_trace_in_two_processes_with_different_hash_seeds() -> None:
    """Set order, addresses and hashes of strings leak nowhere."""
    told = []
    for hash_seed in ("0", "4242"):
        command = [sys.executable, "-c", PROGRAM, *map(str, SEEDS)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        told.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert told[0] == told[1]
    assert len({line.split()[1] for line in told[0].splitlines()}) == len(SEEDS)


def test_time_passes_only_as_timers_say() -> None:
    """An hour of virtual time costs nothing, and everything happens in the order of its time."""
    order = []

    async def note(after_s: float) -> None:
        await asyncio.sleep(after_s)
        order.append((after_s, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(*(note(after_s) for after_s in (3600, 0.5, 60)))

    started = time.monotonic()
    run_virtually(main())
    assert time.monotonic() - started < 5
    assert [after_s for after_s, _ in order] == [0.5, 60, 3600]
    assert [round(at_s, 6) for _, at_s in order] == [0.5, 60, 3600]


def test_waiting_for_what_cannot_happen_is_told_at_once() -> None:
    """A deadlock is an error, not a hang."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(SimulationStuck):
        run_virtually(main())


def test_threads_and_sockets_are_refused() -> None:
    """Nothing whose timing the seed does not decide."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        with pytest.raises(SimulationLeak):
            await asyncio.to_thread(print)
        with pytest.raises(SimulationLeak):
            await asyncio.open_connection("127.0.0.1", 1)
        with pytest.raises(SimulationLeak):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)

    run_virtually(main())


@pytest.mark.parametrize(
    "leak", ["time.time()", "time.monotonic()", "random.random()", "os.urandom(1)", "threading.Thread().start()"]
)
def test_product_code_that_reaches_for_the_real_world_is_named(leak: str) -> None:
    """The guard raises for dynafs code and for nobody else."""
    names = {"time": time, "random": random, "os": os, "threading": threading}
    code = compile(leak, "dynafs/coordinator/planted.py", "eval")
    with guard.sealed():
        time.monotonic()
        with pytest.raises(SimulationLeak, match=r"dynafs\.coordinator\.planted used"):
            eval(code, {**names, "__name__": "dynafs.coordinator.planted"})
    eval(code, {**names, "__name__": "dynafs.coordinator.planted"})


def test_end_of_a_life_takes_its_tasks_along() -> None:
    """A killed node does nothing more, not even what it had already scheduled as a task."""
    done = []

    async def work(name: str) -> None:
        await asyncio.sleep(1)
        done.append(name)

    async def main() -> None:
        life = Life("n1", 1)
        loop = asyncio.get_running_loop()
        life.context.run(lambda: loop.create_task(work("killed")))
        other = loop.create_task(work("other"))
        await asyncio.sleep(0.5)
        life.end()
        await other
        assert not life.tasks

    run_virtually(main())
    assert done == ["other"]
