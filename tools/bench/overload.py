#!/usr/bin/env python3
"""What a cluster still serves when it is offered far more than it can: goodput, and the share of hedged reads.

    tools/dev bench-overload [--cases get_4k,put_4k] [--nodes 3] [--rounds 3] [--seconds 5]

The load is closed: every connection has one request under way. Connections are raised until the rate rises no more;
then four times as many as at that peak ask at once. Exits with 1 when goodput falls by more than 15 % of the peak, when
more than 5 % of the requests were hedged, or when one failed.
"""

import argparse
import re
import statistics
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tools.bench.cases import SMALL_CASES, Case
from tools.bench.machine import SLOW_PYTHON, heading, is_optimised_build, touch_memory
from tools.bench.runs import preload, run_load
from tools.bench.targets import Dynafs

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = (16, 32, 64, 128)
OVERLOAD = 4
GOODPUT_MIN, HEDGED_MAX = 0.85, 0.05


class Figures(NamedTuple):
    """One run. goodput: requests a second that succeeded. hedged: reads sent to a further owner, per request."""

    connections: int
    goodput: float
    p99_ms: float
    cpu_ms: float
    hedged: float
    failed: int


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="get_4k,put_4k", help=f"of {', '.join(SMALL_CASES)}")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    chosen = parser.parse_args()
    cases = chosen.cases.split(",")
    if unknown := set(cases) - set(SMALL_CASES):
        parser.error(f"--cases: {', '.join(sorted(unknown))} unknown; choose from {', '.join(SMALL_CASES)}")
    if not is_optimised_build():
        print(SLOW_PYTHON, file=sys.stderr)
    folder = ROOT / ".dynafs"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        cluster = Dynafs(Path(name) / "nodes", chosen.nodes)
        try:
            cluster.start()
            preload(cluster, cases, Path(name))
            touch_memory(1 << 30)
            found = {case: _measured(cluster, SMALL_CASES[case], chosen) for case in cases}
        finally:
            cluster.stop()
    print(heading())
    print(_table(found))
    return _judge(found)


def _measured(cluster: Dynafs, case: Case, chosen: argparse.Namespace) -> list[Figures]:
    """Return the medians at each number of connections, the overload last."""
    found = [_medians(cluster, case, connections, chosen) for connections in CONNECTIONS]
    peak = max(found, key=lambda one: one.goodput)
    return [*found, _medians(cluster, case, OVERLOAD * peak.connections, chosen)]


def _medians(cluster: Dynafs, case: Case, connections: int, chosen: argparse.Namespace) -> Figures:
    case = case._replace(connections=connections)
    runs = [_run(cluster, case, chosen.seconds, f"{connections}-{number}") for number in range(chosen.rounds)]
    medians = [statistics.median(one) for one in zip(*runs, strict=True)]
    found = Figures(connections, *medians[1:5], failed=sum(one.failed for one in runs))
    print(f"{case.method} {connections:>4} connections {found.goodput:>8.1f} /s", file=sys.stderr)
    return found


def _run(cluster: Dynafs, case: Case, seconds: int, seed: str) -> Figures:
    before = _hedges(cluster)
    told = run_load(cluster, case, seconds, seed)
    done = max(told.rate * seconds, 1)
    goodput = told.rate - told.failed / seconds
    return Figures(case.connections, goodput, told.p99_ms, told.cpu_ms, (_hedges(cluster) - before) / done, told.failed)


def _hedges(cluster: Dynafs) -> float:
    """Return how many reads all nodes have sent to a further owner so far."""
    total = 0.0
    for url in cluster.urls:
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
            found = re.search(r'^dynafs_hedges_total{outcome="sent"} (\S+)', answer.read().decode(), re.MULTILINE)
        total += float(found[1]) if found else 0.0
    return total


def _table(found: dict[str, list[Figures]]) -> str:
    lines = [
        "| case | connections | goodput /s | of peak | p99 ms | CPU ms/request | hedged | failed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, rows in found.items():
        peak = max(one.goodput for one in rows)
        lines += [
            f"| {case} | {one.connections} | {one.goodput:.0f} | {one.goodput / peak:.2f} | {one.p99_ms:.1f} "
            f"| {one.cpu_ms:.3f} | {100 * one.hedged:.2f} % | {one.failed} |"
            for one in rows
        ]
    return "\n".join(lines)


def _judge(found: dict[str, list[Figures]]) -> int:
    """Return 1 when a cluster that is asked too much serves too little, hedges too much, or fails."""
    bad = []
    for case, rows in found.items():
        last, peak = rows[-1], max(one.goodput for one in rows)
        if last.goodput < GOODPUT_MIN * peak:
            bad.append(f"{case} falls to {last.goodput / peak:.2f} of its peak")
        if last.hedged > HEDGED_MAX:
            bad.append(f"{case} hedges {100 * last.hedged:.1f} % of its requests")
        if failed := sum(one.failed for one in rows):
            bad.append(f"{case}: {failed} failed")
    print("; ".join(bad) if bad else f"goodput stays above {GOODPUT_MIN:g} of its peak")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
