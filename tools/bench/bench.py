#!/usr/bin/env python3
"""Benchmarks: small and large PUT and GET against a local cluster, in turns with other systems or an earlier commit.

    tools/dev bench                              dynafs alone
    tools/dev bench --peer seaweedfs             in turns with SeaweedFS: default, with fsync, its volumes alone
    tools/dev bench --against HEAD~3             in turns with an earlier commit; exits with 1 when a request costs over
                                                 10 % more processor time than there
    tools/dev bench --scale 10000,100000         what many keys cost: lists, PUTs, jobs, starts and memory at each size
    tools/dev bench --cases put_4k,get_4k --nodes 6 --rounds 3 --seconds 5 --json all.json --write table.md

Every PUT has a new key and contents of its own. Needs wrk and curl (Debian: apt-get install wrk curl). Figures are
medians over the rounds, ratios are medians of the ratios within a round: compare those, not figures of different runs
or machines. CPU is the user and system time of all processes of a system for one request, the steadiest figure of all.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.bench.cases import CASES, unit
from tools.bench.machine import SLOW_PYTHON, description, heading, is_optimised_build, peak_resident_bytes, touch_memory
from tools.bench.report import Rounds, medians, ratio, table
from tools.bench.runs import preload, run_case
from tools.bench.scale import measure_scale, scale_table
from tools.bench.targets import Dynafs, SeaweedFS, SeaweedVolumes, SyncedSeaweedFS, Target
from tools.checkout import checked_out

ROOT = Path(__file__).resolve().parents[2]
#: How much more processor time a request may cost than at the commit it is compared with.
CPU_RATIO_MAX = 1.10


def main() -> None:
    """Run."""
    arguments = _arguments()
    if not is_optimised_build():
        print(SLOW_PYTHON, file=sys.stderr)
    folder = arguments.data or ROOT / ".dynafs"
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.scale:
        sys.exit(_measure_scale(arguments, folder))
    with tempfile.TemporaryDirectory(dir=folder) as name, _targets(arguments, Path(name)) as targets:
        touch_memory(arguments.touch_mib << 20)
        rounds = _measure(targets, arguments, Path(name))
        peaks = {one.name: {node: peak_resident_bytes(pid) for node, pid in one.processes().items()} for one in targets}
    names = [target.name for target in targets]
    print(_document(rounds, names, peaks, arguments))
    if arguments.json:
        told = {"machine": description(), "rounds": _plain(rounds), "peak_resident_bytes": peaks}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    if arguments.write:
        arguments.write.write_text(_document(rounds, names, peaks, arguments) + "\n")
    if arguments.against:
        sys.exit(_judge(rounds, names))


def _measure_scale(arguments: argparse.Namespace, folder: Path) -> int:
    """Return 1 when a request failed."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        found = measure_scale(arguments, Path(name) / "scale")
    print(told := scale_table(found))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": description(), "scale": found}, indent=2) + "\n")
    if arguments.write:
        arguments.write.write_text(told + "\n")
    return int(any(figures["PUT failed"] for figures in found.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=["seaweedfs"], help="also measure this system, in turns")
    parser.add_argument(
        "--against", metavar="REV", help="also measure this commit, in turns, and fail when it was cheaper"
    )
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--scale", type=_sizes, metavar="KEYS,...", help="ascending numbers of keys to measure at")
    parser.add_argument("--file-bytes", type=int, default=64, help="contents of each file that --scale fills with")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="length of each run of a small case")
    parser.add_argument("--touch-mib", type=int, default=2048, help="memory to touch before measuring")
    parser.add_argument("--data", type=Path, help="where to put data; default: a temporary folder in the checkout")
    parser.add_argument("--json", type=Path, help="write the figures of every round here")
    parser.add_argument("--write", type=Path, help="write the table here, as Markdown")
    arguments = parser.parse_args()
    arguments.cases = arguments.cases.split(",")
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"--cases: {', '.join(sorted(unknown))} unknown; choose from {', '.join(CASES)}")
    if missing := [tool for tool in ("wrk", "curl") if shutil.which(tool) is None]:
        sys.exit(f"tools/dev bench needs {' and '.join(missing)}; on Debian: apt-get install {' '.join(missing)}")
    return arguments


def _sizes(text: str) -> list[int]:
    sizes = [int(size) for size in text.split(",")]
    if sizes != sorted(set(sizes)) or sizes[0] < 1:
        raise argparse.ArgumentTypeError("use ascending numbers of keys, for example 10000,100000,1000000")
    return sizes


@contextmanager
def _targets(arguments: argparse.Namespace, work: Path) -> Iterator[list[Target]]:
    """Start what is measured; stop it in the end."""
    targets: list[Target] = [Dynafs(work / "dynafs", arguments.nodes)]
    if arguments.against:
        source = checked_out(arguments.against, work / "source")
        targets.append(Dynafs(work / "before", arguments.nodes, source, arguments.against))
    if arguments.peer:
        cluster = SeaweedFS(work / "seaweedfs")
        targets += [cluster, SyncedSeaweedFS(cluster), SeaweedVolumes(cluster)]
    try:
        for target in targets:
            target.start()
            preload(target, arguments.cases, work)
        yield targets
    finally:
        for target in targets:
            target.stop()


def _measure(targets: list[Target], arguments: argparse.Namespace, work: Path) -> Rounds:
    """Return the results; inside a round the targets take turns, in the next one in the opposite order."""
    rounds: Rounds = {case: {target.name: [] for target in targets} for case in arguments.cases}
    for number in range(arguments.rounds):
        for case in arguments.cases:
            for target in targets[:: -1 if number % 2 else 1]:
                found = run_case(target, case, arguments.seconds, f"{number}-{os.getpid()}", work)
                rounds[case][target.name].append(found)
                print(
                    f"round {number + 1} {case:<10} {target.name:<18} {found.rate:>9.1f} {unit(case):<4}"
                    f" {found.cpu_ms:>8.3f} ms CPU, {found.failed} failed", file=sys.stderr,
                )  # fmt: skip
    return rounds


def _document(rounds: Rounds, names: list[str], peaks: dict[str, dict[str, int]], arguments: argparse.Namespace) -> str:
    told = [f"{heading()}; {arguments.nodes} nodes, medians of {arguments.rounds} rounds", "", table(rounds, names), ""]
    for name in names:
        sizes = ", ".join(f"{node} {size >> 20}" for node, size in peaks[name].items())
        told.append(f"Peak resident MiB of {name}: {sizes}")
    return "\n".join(told)


def _plain(rounds: Rounds) -> dict[str, dict[str, list[dict[str, float]]]]:
    return {
        case: {name: [one._asdict() for one in results] for name, results in by_target.items()}
        for case, by_target in rounds.items()
    }


def _judge(rounds: Rounds, names: list[str]) -> int:
    """Return 1 when a case costs too much more than at the earlier commit, or a request failed."""
    now, before = names[:2]
    worse = {case: ratio(rounds, case, now, before, "cpu_ms") for case in rounds}
    bad = [f"{case} costs {factor:.2f}x" for case, factor in worse.items() if factor > CPU_RATIO_MAX]
    bad += [f"{case}: {one[now].failed} failed" for case, one in medians(rounds).items() if one[now].failed]
    print("; ".join(bad) if bad else f"no case costs more than {CPU_RATIO_MAX:g} times what it did at {before}")
    return 1 if bad else 0


if __name__ == "__main__":
    main()
