#!/usr/bin/env python3
"""What a small PUT costs in clusters of different sizes, through any node and through owners of the file.

    tools/dev bench-growth [--nodes 3,6,12] [--rounds 2] [--seconds 4] [--connections-per-node 6]

The load comes from the Python client in two processes, with the same number of connections for each node; only the
processor time of the nodes counts. In a cluster larger than the number of copies a node that owns no copy of a file
forwards its PUT to an owner; `forwarded` is the share of those. `idle` is what the nodes take without any load.
All clusters run at the same time and take turns, so that ratios are of figures that were measured side by side.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tools.bench.machine import SLOW_PYTHON, cpu_s, heading, is_optimised_build
from tools.bench.targets import Dynafs

ROOT = Path(__file__).resolve().parents[2]
LOAD = Path(__file__).resolve().parent / "client_load.py"
PROCESSES = 2
THROUGH = ("arbitrary", "owners")
IDLE_S = 3.0


class Figures(NamedTuple):
    """One run."""

    rate: float
    cpu_ms: float
    forwarded: float
    failed: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="3,6,12", help="sizes of the clusters; ratios are to the first one")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections-per-node", type=int, default=6)
    chosen = parser.parse_args()
    sizes = [int(text) for text in chosen.nodes.split(",")]
    if not is_optimised_build():
        print(SLOW_PYTHON, file=sys.stderr)
    folder = ROOT / ".dynafs"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        clusters = {size: Dynafs(Path(work) / f"nodes-{size}", size) for size in sizes}
        try:
            for cluster in clusters.values():
                cluster.start()
            idle = {size: _idle_ms_per_s(cluster) for size, cluster in clusters.items()}
            found = _measure(clusters, chosen)
        finally:
            for cluster in clusters.values():
                cluster.stop()
    print(heading())
    print(_table(found, idle))


def _idle_ms_per_s(cluster: Dynafs) -> float:
    pids = list(cluster.processes().values())
    before_s = cpu_s(pids)
    time.sleep(IDLE_S)
    return 1000 * (cpu_s(pids) - before_s) / IDLE_S


def _measure(clusters: dict[int, Dynafs], chosen: argparse.Namespace) -> dict[tuple[int, str], list[Figures]]:
    """Return the figures of every round; in every other one the turns are in the opposite order."""
    cases = [(size, through) for size in clusters for through in THROUGH]
    found: dict[tuple[int, str], list[Figures]] = {case: [] for case in cases}
    for number in range(chosen.rounds):
        for size, through in cases[:: -1 if number % 2 else 1]:
            connections = size * chosen.connections_per_node
            one = _run(clusters[size], through, connections, chosen.seconds, f"{os.getpid()}-{number}-{through}")
            found[size, through].append(one)
            print(
                f"round {number + 1} {size:>3} nodes {through:<10} {one.rate:>8.1f} /s {one.cpu_ms:>7.3f} ms CPU, "
                f"{100 * one.forwarded:.0f} % forwarded, {one.failed:.0f} failed", file=sys.stderr,
            )  # fmt: skip
    return found


def _run(cluster: Dynafs, through: str, connections: int, seconds: float, seed: str) -> Figures:
    pids = list(cluster.processes().values())
    loads = []
    for i in range(PROCESSES):
        own = connections // PROCESSES + (i < connections % PROCESSES)
        urls = cluster.urls[i:] + cluster.urls[:i]
        command = [sys.executable, LOAD, through, str(own), str(seconds), f"{seed}-{i}", *urls]
        loads.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for load in loads:
        if load.stdout.readline() != "ready\n":
            sys.exit("the load did not start")
    before_s = cpu_s(pids)
    for load in loads:
        load.stdin.write("\n")
        load.stdin.flush()
    counts = [json.loads(load.stdout.readline()) for load in loads]
    spent_s = cpu_s(pids) - before_s
    for load in loads:
        load.communicate()
    done = max(sum(one["done"] for one in counts), 1)
    return Figures(
        done / max(one["took_s"] for one in counts), 1000 * spent_s / done,
        sum(one["forwarded"] for one in counts) / done, sum(one["failed"] for one in counts),
    )  # fmt: skip


def _table(found: dict[tuple[int, str], list[Figures]], idle: dict[int, float]) -> str:
    """Return Markdown. The ratio is the median of the ratios within the rounds, to the smallest cluster's own."""
    base = next(iter(idle))
    lines = [
        "| nodes | through | rate | CPU ms/PUT | ratio | forwarded | idle ms/s | failed |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (size, through), rounds in found.items():
        rate, cpu_ms, forwarded, _ = (statistics.median(one) for one in zip(*rounds, strict=True))
        pairs = zip(rounds, found[base, through], strict=True)
        ratio = statistics.median(one.cpu_ms / first.cpu_ms for one, first in pairs)
        failed = sum(one.failed for one in rounds)
        lines.append(
            f"| {size} | {through} | {rate:.0f} /s | {cpu_ms:.3f} | {ratio:.2f} | {100 * forwarded:.0f} % "
            f"| {idle[size]:.0f} | {failed:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
