#!/usr/bin/env python3
"""Benchmarks: small and large PUT and GET against a local 3-node cluster, optionally in turns with SeaweedFS.

    tools/dev bench                            dynafs alone
    tools/dev bench --peer seaweedfs           both, in turns within one run, with ratios
    tools/dev bench --rounds 3 --seconds 5 --json result.json

Every PUT has a new key and contents of its own. Needs wrk and curl (Debian: apt-get install wrk curl). Figures are
medians over the rounds; compare ratios within one run, not figures of different runs or machines.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from targets import Dynafs, SeaweedFS, Target

HERE = Path(__file__).resolve().parent
KIB, MIB = 1 << 10, 1 << 20
#: name: (method, bytes, connections, keys to read from)
SMALL_CASES = {
    "put_4k": ("PUT", 4 * KIB, 16, 0),
    "get_4k": ("GET", 4 * KIB, 16, 500),
    "put_1m": ("PUT", MIB, 4, 0),
    "get_1m": ("GET", MIB, 4, 100),
}
LARGE_SIZE_BYTES = 256 * MIB
WRK_THREADS = 4


def require_tools() -> None:
    """Exit with advice when something is missing."""
    missing = [tool for tool in ("wrk", "curl") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"tools/dev bench needs {' and '.join(missing)}; on Debian: apt-get install {' '.join(missing)}")


def preload(target: Target, work: Path) -> None:
    """Write the keys that GET cases read."""
    for name, (method, size, _, keys) in SMALL_CASES.items():
        if method != "GET":
            continue
        config = work / "preload.curl"
        lines = []
        for i in range(keys):
            path = work / f"preload-{i}"
            path.write_bytes(os.urandom(size))
            url = target.urls[0] + target.prefix(name) + f"key-{i}"
            lines.append(f'url = "{url}"\nupload-file = "{path}"\noutput = "/dev/null"')
        config.write_text("\nnext\n".join(lines) + "\n")
        subprocess.run(["curl", "-sS", "--fail", "-K", config], check=True, stdout=subprocess.DEVNULL)
        for i in range(keys):
            (work / f"preload-{i}").unlink()


def run_wrk(target: Target, name: str, seconds: int, seed: str) -> dict[str, float]:
    """Return {"rate": requests per second, "p50_ms", "p99_ms", "failed"} of one case."""
    method, size, connections, keys = SMALL_CASES[name]
    hosts = [url.removeprefix("http://") for url in target.urls]
    command = [
        "wrk",
        f"-t{WRK_THREADS}",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        HERE / "load.lua",
        target.urls[0],
        "--",
    ]
    command += [method, str(size), str(keys), seed, target.prefix(name), *hosts]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        sys.exit(f"wrk said nothing usable:\n{output}")
    found = json.loads(line.removeprefix("RESULT "))
    return {
        "rate": found["requests"] / (found["duration_us"] / 1e6),
        "p50_ms": found["p50_us"] / 1000,
        "p99_ms": found["p99_us"] / 1000,
        "failed": found["failed"],
    }


def run_large(target: Target, work: Path, seed: str) -> dict[str, dict[str, float]]:
    """PUT a fresh 256 MiB file and GET it back; return MB/s of both."""
    source = work / "large"
    with source.open("wb") as file:
        for _ in range(LARGE_SIZE_BYTES // (16 * MIB)):
            file.write(os.urandom(16 * MIB))
    url = target.urls[0] + target.prefix("large") + f"large-{seed}"
    seconds = {}
    for name, options in (("put_256m", ["-T", source]), ("get_256m", [])):
        command = ["curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{time_total}", *options, url]
        seconds[name] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {name: {"rate": LARGE_SIZE_BYTES / 1e6 / value} for name, value in seconds.items()}


def measure(
    targets: list[Target], rounds: int, seconds: int, work: Path
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return {case: {target: one result per round}}; targets take turns inside every round."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for number in range(rounds):
        for name in SMALL_CASES:
            for target in targets:
                seed = f"{number}-{name}-{os.getpid()}"
                result = run_wrk(target, name, seconds, seed)
                results.setdefault(name, {}).setdefault(target.name, []).append(result)
                print(f"round {number + 1} {name:<9} {target.name:<10} {result['rate']:>10.1f}/s", file=sys.stderr)
        for target in targets:
            for name, result in run_large(target, work, f"{number}-{os.getpid()}").items():
                results.setdefault(name, {}).setdefault(target.name, []).append(result)
                print(f"round {number + 1} {name:<9} {target.name:<10} {result['rate']:>9.1f} MB/s", file=sys.stderr)
    return results


def summarise(
    results: dict[str, dict[str, list[dict[str, float]]]], targets: list[Target]
) -> dict[str, dict[str, object]]:
    """Return {case: {target: medians, "ratio": dynafs over the peer}}."""
    summary: dict[str, dict[str, object]] = {}
    for case, by_target in results.items():
        row: dict[str, object] = {}
        for name, rounds in by_target.items():
            row[name] = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        if len(targets) > 1:
            mine, theirs = (by_target[target.name] for target in targets)
            row["ratio"] = statistics.median(a["rate"] for a in mine) / statistics.median(b["rate"] for b in theirs)
        summary[case] = row
    return summary


def show(summary: dict[str, dict[str, object]], targets: list[Target], peaks: dict[str, dict[str, int]]) -> None:
    """Print the table."""
    print(f"\n{'case':<10}" + "".join(f"{t.name:>14}{'p50 ms':>9}{'p99 ms':>9}" for t in targets) + f"{'ratio':>8}")
    for case, row in summary.items():
        unit = "MB/s" if case.endswith("256m") else "/s"
        cells = ""
        for target in targets:
            found = row[target.name]
            latency = [f"{found[key]:>9.1f}" if key in found else f"{'':>9}" for key in ("p50_ms", "p99_ms")]
            cells += f"{found['rate']:>9.1f} {unit:<4}" + "".join(latency)
        ratio = f"{row['ratio']:>7.2f}x" if "ratio" in row else ""
        print(f"{case:<10}{cells}{ratio}")
    for name, nodes in peaks.items():
        print(f"peak resident MiB, {name}: " + ", ".join(f"{node} {size >> 20}" for node, size in nodes.items()))


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=["seaweedfs"], help="also measure this system, in turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of each wrk run")
    parser.add_argument("--data", type=Path, help="where to put data; default: a temporary folder beside the checkout")
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    require_tools()
    folder = arguments.data or HERE.parent.parent / ".dynafs"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        targets: list[Target] = [Dynafs(work / "dynafs")]
        if arguments.peer:
            targets.append(SeaweedFS(work / "seaweedfs"))
        try:
            for target in targets:
                target.start()
                preload(target, work)
            results = measure(targets, arguments.rounds, arguments.seconds, work)
            peaks = {target.name: target.peak_resident_bytes() for target in targets}
        finally:
            for target in targets:
                target.stop()
    summary = summarise(results, targets)
    show(summary, targets, peaks)
    if arguments.json:
        machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
        told = {"machine": machine, "median": summary, "rounds": results, "peak_resident_bytes": peaks}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
