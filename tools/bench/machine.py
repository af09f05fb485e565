"""The machine under the benchmark: processor time, memory, and how this Python was built."""

import datetime as dt
import mmap
import os
import platform
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_SIZE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pids: Iterable[int]) -> float:
    """Return the user and system time that these processes have taken so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def peak_resident_bytes(pid: int) -> int:
    """Return the high-water mark of a process's resident memory."""
    return _status_bytes(pid, "VmHWM:")


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory."""
    return _status_bytes(pid, "VmRSS:")


def _status_bytes(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(field)[2].split()[0]) << 10


def touch_memory(size_bytes: int) -> None:
    """Write to fresh pages and give them back. A virtual machine pays for the first touch of a page, which would be
    counted as work of the first system that happens to use it."""
    if not size_bytes:
        return
    with mmap.mmap(-1, size_bytes) as pages:
        for at in range(0, size_bytes, PAGE_SIZE_BYTES):
            pages[at] = 1


def is_optimised_build() -> bool:
    """Return whether this Python was built with profile-guided optimisation. Debian does so by rules of its own, which
    leave no trace in the configuration."""
    is_debians = sys.base_prefix == "/usr" and Path("/etc/debian_version").exists()
    return is_debians or "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")


def description() -> dict[str, object]:
    """Return what a reader of figures needs to know of this machine."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "is_optimised_python": is_optimised_build(),
    }


def heading() -> str:
    """Return `description` in one line."""
    return ", ".join(f"{name} {value}" for name, value in description().items())


SLOW_PYTHON = (
    "warning: this Python was built without profile-guided optimisation, which makes every figure of dynafs 13 to 20 % "
    "worse;\nDebian's python3.11 has it: DYNAFS_VENV=.venv-optimised /usr/bin/python3.11 tools/dev bench"
)
