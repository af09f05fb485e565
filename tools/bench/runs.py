"""Runs of single cases: load from wrk or curl, and what the system under test spent on it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tools.bench.cases import LARGE_CASES, LARGE_SIZE_BYTES, MIB, SMALL_CASES, Case, Result
from tools.bench.machine import cpu_s
from tools.bench.targets import Target

HERE = Path(__file__).resolve().parent
#: Seed of the large file that is read.
KEPT = "kept"


def preload(target: Target, cases: list[str], work: Path) -> None:
    """Write the files that GET cases read."""
    wanted = {SMALL_CASES[name]._replace(connections=0) for name in cases if name in SMALL_CASES}
    for case in sorted(one for one in wanted if one.keys):
        config, lines = work / "preload.curl", []
        for number in range(case.keys):
            path = work / f"preload-{number}"
            path.write_bytes(os.urandom(case.size_bytes))
            name = str(number) if target.is_numbered else f"key-{number}"
            url = target.urls[0] + target.prefix(case) + name
            lines.append(f'url = "{url}"\nupload-file = "{path}"\noutput = "/dev/null"')
        config.write_text("\nnext\n".join(lines) + "\n")
        subprocess.run(["curl", "-sS", "--fail", "-K", config], check=True, stdout=subprocess.DEVNULL)
        for number in range(case.keys):
            (work / f"preload-{number}").unlink()
    if "get_256m" in cases:
        _large(target, "put_256m", KEPT, work)


def run_case(target: Target, name: str, seconds: int, seed: str, work: Path) -> Result:
    """Measure a case once."""
    if name not in LARGE_CASES:
        return run_load(target, SMALL_CASES[name], seconds, seed)
    pids = list(target.processes().values())
    before_s = cpu_s(pids)
    rate, took = _large(target, name, KEPT if name.startswith("get") else seed, work)
    return Result(rate, took, took, took, 1000 * (cpu_s(pids) - before_s), 0)


def run_load(target: Target, case: Case, seconds: int, seed: str) -> Result:
    """Ask for small files for some time."""
    pids = list(target.processes().values())
    before_s = cpu_s(pids)
    told = _wrk(target, case, seconds, seed)
    spent_ms = 1000 * (cpu_s(pids) - before_s) / max(told["requests"], 1)
    return Result(
        told["requests"] / (told["duration_us"] / 1e6), told["p50_us"] / 1000, told["p99_us"] / 1000,
        told["p999_us"] / 1000, spent_ms, told["failed"],
    )  # fmt: skip


def _wrk(target: Target, case: Case, seconds: int, seed: str) -> dict[str, int]:
    hosts = [url.removeprefix("http://") for url in target.urls]
    threads = min(4, case.connections)
    arguments = [case.method, str(case.size_bytes), str(case.keys), seed, target.prefix(case), str(+target.is_numbered)]
    command = ["wrk", f"-t{threads}", f"-c{case.connections}", f"-d{seconds}s", "-s", HERE / "load.lua"]
    run = subprocess.run(
        [*command, target.urls[0], "--", *arguments, *hosts], capture_output=True, text=True, check=True
    )
    line = next((line for line in run.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        sys.exit(f"wrk printed no result:\n{run.stdout}")
    return json.loads(line.removeprefix("RESULT "))


def _large(target: Target, name: str, seed: str, work: Path) -> tuple[float, float]:
    """PUT a fresh large file, or GET the one of the same seed; return MB/s and milliseconds."""
    source = work / f"large-{seed}"
    prefix = target.prefix(Case("PUT", LARGE_SIZE_BYTES, 1))
    url = target.urls[0] + prefix + (str(abs(hash(seed)) % 900) if target.is_numbered else source.name)
    options: list[str | Path] = []
    if name.startswith("put"):
        with source.open("wb") as file:
            for _ in range(LARGE_SIZE_BYTES // (16 * MIB)):
                file.write(os.urandom(16 * MIB))
        options = ["-T", source]
    began_s = time.monotonic()
    subprocess.run(["curl", "-sS", "--fail", "-o", "/dev/null", *options, url], check=True)
    took_s = time.monotonic() - began_s
    source.unlink(missing_ok=True)
    return LARGE_SIZE_BYTES / 1e6 / took_s, 1000 * took_s
