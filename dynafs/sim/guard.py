"""While a simulation runs, dynafs must not look at the real world; whoever does is named."""

import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dynafs.sim.errors import SimulationLeak

#: (module or class, name) of what gives two runs of one seed a way to differ
LEAKS: tuple[tuple[Any, str], ...] = (
    (time, "time"), (time, "time_ns"), (time, "monotonic"), (time, "monotonic_ns"), (time, "perf_counter"),
    (time, "sleep"), (os, "urandom"), (uuid, "uuid4"), (uuid, "uuid1"), (threading.Thread, "start"),
    *((random, name) for name in ("random", "randrange", "randint", "choice", "choices", "shuffle", "uniform",
                                  "sample", "randbytes", "getrandbits")),
)  # fmt: skip


@contextmanager
def sealed() -> Iterator[None]:
    """Make every leak raise SimulationLeak when dynafs code uses it; libraries may go on, nothing depends on them."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in LEAKS]
    for owner, name, original in originals:
        setattr(owner, name, _guarded(f"{owner.__name__}.{name}", original))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _guarded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001  there is no public way
        if caller.startswith("dynafs."):
            raise SimulationLeak(f"{caller} used {name}")
        return original(*arguments, **options)

    return call
