"""What many keys cost: one local cluster, filled to one size after another, everything measured at each of them.

At each size the cluster is stopped, filled (`scale_fill`), and started. Each gateway lists a bucket of its own, all
three at the same time; single pages follow one at a time, then each job once on the first node, then PUTs of 4 KiB.
Figures of jobs and of starts and stops are single runs: compare sizes far apart, and processor time rather than time.
"""

import argparse
import json
import statistics
import sys
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tools.bench.machine import cpu_s, peak_resident_bytes, resident_bytes
from tools.bench.runs import run_case
from tools.bench.scale_fill import PREFIXES, fill
from tools.bench.targets import Dynafs

NODES = ("n1", "n2", "n3")
#: One for each gateway that lists.
BUCKETS = ("scale-0", "scale-1", "scale-2")
PAGE_ROWS = 1000
#: How often a single page is asked for.
PAGE_ROUNDS = 100
POLL_S = 0.02

#: {measure: figure}
Figures = dict[str, float]


class _Page(NamedTuple):
    """What is read of a page without parsing all of it."""

    rows: int
    cursor: str | None


def measure_scale(arguments: argparse.Namespace, work: Path) -> dict[int, Figures]:
    """Return the figures of every size."""
    found: dict[int, Figures] = {}
    _found(work)
    for before, size in pairwise([0, *arguments.scale]):
        began_s = time.monotonic()
        fill([work / node for node in NODES], list(BUCKETS), before, size, arguments.file_bytes)
        print(f"{size} keys: filled in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
        found[size] = _measured(work, size, arguments.seconds)
        print(json.dumps(found[size]), file=sys.stderr)
    return found


def _found(work: Path) -> None:
    """Make the cluster and its buckets."""
    cluster = Dynafs(work)
    cluster.start()
    try:
        for bucket in BUCKETS:
            _send(f"{cluster.urls[0]}/v1/buckets/{bucket}", "PUT")
    finally:
        cluster.stop()


def _measured(work: Path, size: int, seconds: int) -> Figures:
    cluster, figures = Dynafs(work), Figures()
    began_s = time.monotonic()
    cluster.start()
    try:
        figures["start s"] = time.monotonic() - began_s
        pids = list(cluster.processes().values())
        figures |= _listing(cluster, pids, size)
        for job in ("census", "anti-entropy", "walk"):
            figures |= _job(cluster.urls[0], job, pids)
        put = run_case(cluster, "put_4k", seconds, f"scale-{size}", work)
        figures |= {"PUT/s": put.rate, "PUT CPU ms": put.cpu_ms, "PUT p50 ms": put.p50_ms, "PUT p99 ms": put.p99_ms}
        figures["PUT failed"] = put.failed
        figures["RSS MiB"] = max(resident_bytes(pid) for pid in pids) / 2**20
        figures["peak RSS MiB"] = max(peak_resident_bytes(pid) for pid in pids) / 2**20
    finally:
        began_s = time.monotonic()
        cluster.stop()
    figures["stop s"] = time.monotonic() - began_s
    return figures


def _listing(cluster: Dynafs, pids: list[int], size: int) -> Figures:
    """List everything, each gateway a bucket; then single pages, one at a time."""
    before_s, began_s = cpu_s(pids), time.monotonic()
    with ThreadPoolExecutor(len(BUCKETS)) as pool:
        walks = list(pool.map(_walk, cluster.urls, BUCKETS))
    took_s, spent_s = time.monotonic() - began_s, cpu_s(pids) - before_s
    if (keys := sum(rows for rows, _ in walks)) != size:
        sys.exit(f"{size} keys were written, {keys} are listed")
    figures = {"list keys/s": size / took_s, "list CPU us/key": 1e6 * spent_s / size}
    cursors = walks[0][1]
    for name, cursor in (("begin", cursors[0]), ("middle", cursors[len(cursors) // 2]), ("end", cursors[-1])):
        figures |= _page_ms(cluster.urls[0], f"page {name}", {"cursor": cursor} if cursor else {})
    figures |= _page_ms(cluster.urls[0], "prefix page", {"prefix": f"{PREFIXES // 2:02}/"})
    return figures | _page_ms(cluster.urls[0], "delimiter page", {"delimiter": "/"})


def _walk(url: str, bucket: str) -> tuple[int, list[str | None]]:
    """Return how many keys all pages show, and the cursor that each of them was asked for with."""
    rows, cursors, cursor = 0, list[str | None](), None
    while not cursors or cursor is not None:
        cursors.append(cursor)
        page = _page(url, bucket, {"cursor": cursor} if cursor else {})
        rows, cursor = rows + page.rows, page.cursor
    return rows, cursors


def _page(url: str, bucket: str, query: dict[str, str]) -> _Page:
    asked = urllib.parse.urlencode({"limit": PAGE_ROWS, **query})
    body = _send(f"{url}/v1/files/{bucket}?{asked}")
    cursor = json.loads(b"{" + body[body.rindex(b'"cursor"') :])["cursor"]
    return _Page(body.count(b'"path":'), cursor)


def _page_ms(url: str, name: str, query: dict[str, str]) -> Figures:
    took_ms = []
    for _ in range(PAGE_ROUNDS):
        began_s = time.perf_counter()
        _page(url, BUCKETS[0], query)
        took_ms.append(1000 * (time.perf_counter() - began_s))
    p99_ms = statistics.quantiles(took_ms, n=100, method="inclusive")[98]
    return {f"{name} p50 ms": statistics.median(took_ms), f"{name} p99 ms": p99_ms}


def _job(url: str, name: str, pids: list[int]) -> Figures:
    """Have one node do a job once."""
    ended = _ended(url, name)
    before_s, began_s = cpu_s(pids), time.monotonic()
    _send(f"{url}/v1/jobs/{name}/start", "POST")
    while _ended(url, name) == ended:
        time.sleep(POLL_S)
    return {f"{name} s": time.monotonic() - began_s, f"{name} CPU s": cpu_s(pids) - before_s}


def _ended(url: str, name: str) -> int:
    """Return how many runs of a job have ended; stop when one failed."""
    jobs = json.loads(_send(f"{url}/v1/jobs"))["jobs"]
    status = next(one for one in jobs if one["name"] == name)
    if status["failures"] or status["last_error"]:
        sys.exit(f"{name} failed: {status['last_error']}")
    return status["runs"]


def _send(url: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=120) as answer:
        return answer.read()


def scale_table(found: dict[int, Figures]) -> str:
    """Return a Markdown table: a row per measure, a column per size, and beside it the ratio to the size before."""
    sizes = list(found)
    heads = [f"{size}" if not i else f"{size} | x" for i, size in enumerate(sizes)]
    lines = [f"| measure | {' | '.join(heads)} |", "| --- |" + " --- |" * (2 * len(sizes) - 1)]
    for measure in found[sizes[0]]:
        cells = [f"{found[sizes[0]][measure]:.2f}"]
        for before, size in pairwise(sizes):
            now, then = found[size][measure], found[before][measure]
            cells += [f"{now:.2f}", f"{now / then:.2f}" if then else ""]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    return "\n".join(lines)
