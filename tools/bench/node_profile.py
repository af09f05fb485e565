#!/usr/bin/env python3
"""Where a node's time goes in one case of the benchmark: the functions that most samples are in, thread by thread.

    tools/dev profile put_4k [--seconds 5] [--nodes 3] [--node n1] [--gil] [--raw FILE]

Samples come from py-spy (PyPI, installed when it is missing; it reads the process's memory, so it may need root).
"""

import argparse
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from itertools import zip_longest
from pathlib import Path

from tools.bench.cases import CASES
from tools.bench.runs import preload, run_case
from tools.bench.targets import Dynafs

RATE_HZ = 250
TOP = 18


def py_spy() -> Path:
    """Return the sampler's command, installed when it is missing."""
    found = Path(sys.executable).parent / "py-spy"
    if not found.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "py-spy"]
        subprocess.run(command, check=True)
    return found


def sampled(pid: int, seconds: int, *, only_gil: bool) -> list[tuple[list[str], int]]:
    """Return the stacks of a process, outermost frame first, and how often each was seen."""
    with tempfile.NamedTemporaryFile() as out:
        command = [py_spy(), "record", "-p", str(pid), "-d", str(seconds), "-r", str(RATE_HZ), "-f", "raw", "-t"]
        subprocess.run([*command, *(["--gil"] if only_gil else []), "-o", out.name], check=True, capture_output=True)
        lines = Path(out.name).read_text().splitlines()
    return [(stack.split(";"), int(count)) for stack, _, count in (line.rpartition(" ") for line in lines)]


def show(stacks: list[tuple[list[str], int]]) -> None:
    """Print, of each thread, the functions that were running and those of dynafs that were on the stack."""
    threads: dict[str, list[tuple[list[str], int]]] = {}
    for (thread, *frames), count in stacks:
        threads.setdefault(thread, []).append((frames or ["?"], count))
    total = sum(count for _, count in stacks)
    for thread, seen in sorted(threads.items(), key=lambda item: -sum(count for _, count in item[1])):
        here = sum(count for _, count in seen)
        if here * 50 < total:
            continue
        running, on_stack = Counter[str](), Counter[str]()
        for frames, count in seen:
            running[_function(frames[-1])] += count
            for frame in {_function(one) for one in frames if "dynafs" in one}:
                on_stack[frame] += count
        print(f"\n{thread}: {100 * here / total:.0f} % of all samples\n{'running':<62}{'on the stack':<60}")
        rows = (running.most_common(TOP), on_stack.most_common(TOP))
        for (a, m), (b, n) in zip_longest(*rows, fillvalue=("", 0)):
            print(f"{_share(m, here):>6} {a[:54]:<54} {_share(n, here):>6} {b[:54]}")


def _function(frame: str) -> str:
    """Return NAME (FILE) without the line."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f}%" if count else ""


def main() -> None:
    """Profile one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=3, help="size of the cluster")
    parser.add_argument("--node", default="n1")
    parser.add_argument("--gil", action="store_true", help="only samples that hold the interpreter lock")
    parser.add_argument("--raw", type=Path, help="write the stacks here, for flame graphs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work, target = Path(name), Dynafs(Path(name) / "dynafs", arguments.nodes)
        try:
            target.start()
            preload(target, [arguments.case], work)
            run_case(target, arguments.case, 1, "warm", work)
            load = threading.Thread(target=run_case, args=(target, arguments.case, arguments.seconds + 2, "p", work))
            load.start()
            stacks = sampled(target.processes()[arguments.node], arguments.seconds, only_gil=arguments.gil)
            load.join()
        finally:
            target.stop()
    if arguments.raw:
        arguments.raw.write_text("".join(f"{';'.join(stack)} {count}\n" for stack, count in stacks))
    show(stacks)


if __name__ == "__main__":
    main()
