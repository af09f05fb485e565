#!/usr/bin/env python3
"""What deletes cost listings: times of a page behind many tombstones, and of the same page without them.

Three nodes in this process, over loopback sockets and a temporary directory. The tombstones are put into every store;
the names behind them come by HTTP.

tools/dev bench-list [--tombstones 100000] [--files 1000] [--rounds 20] [--port 5180] [--data DIR]
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from aiohttp import ClientSession

from dynafs.causality import Stamp
from dynafs.causality.stamp import hybrid_time
from dynafs.config import (
    ClusterSettings,
    HttpSettings,
    MemberSettings,
    NodeSettings,
    Settings,
    StorageSettings,
)
from dynafs.files import FileName, Record, Version, VersionKind
from dynafs.node import Node
from dynafs.observe.events import configure_logs
from dynafs.wire.records import encode_record

NAMES = ("n1", "n2", "n3")
PEER_OFFSET = 500
#: Deletes of one batch, and the files behind them that are put at once.
BATCH, PUTS_AT_ONCE = 500, 16
QUERIES = (
    {"limit": "1"}, {"limit": "1000"}, {"limit": "1", "delimiter": "/"}, {"limit": "1000", "delimiter": "/"},
    {"limit": "1", "prefix": "f/"}, {"limit": "1000", "prefix": "f/", "delimiter": "/"},
)  # fmt: skip


def settings_of(index: int, port: int, data: Path) -> Settings:
    """Return the settings of one of three nodes."""
    peers = [f"127.0.0.1:{port + PEER_OFFSET + number}" for number in range(len(NAMES))]
    members = tuple(MemberSettings(node=name, address=peer) for name, peer in zip(NAMES, peers, strict=True))
    return Settings(
        node=NodeSettings(name=NAMES[index], data_dir=str(data / NAMES[index]), listen=peers[index]),
        cluster=ClusterSettings(id="bench", secret="a secret for a benchmark", n=3, r=2, w=2, members=members),
        http=HttpSettings(listen=f"127.0.0.1:{port + index}"),
        storage=StorageSettings(soft_mark=1.0, hard_mark=1.0, reserve_mark=1.0),
    )


async def fill(session: ClientSession, url: str, bucket: str, files: int) -> None:
    """Put files, named so that they stand behind the tombstones."""

    async def put(number: int) -> None:
        async with session.put(f"{url}/v1/files/{bucket}/f/{number:06}", data=b"contents") as response:
            response.raise_for_status()

    for start in range(0, files, PUTS_AT_ONCE):
        await asyncio.gather(*(put(number) for number in range(start, min(start + PUTS_AT_ONCE, files))))


async def bury(nodes: list[Node], bucket: str, count: int) -> None:
    """Write and delete files that stand before the others, at every owner."""
    start_ms = int(time.time() * 1000) - count
    for kind, later in ((VersionKind.FILE, 0), (VersionKind.TOMBSTONE, 1)):
        for first in range(0, count, BATCH):
            writes = []
            for number in range(first, min(first + BATCH, count)):
                stamp = Stamp(hybrid_time(start_ms + number) + later, "bench")
                data = encode_record(Record.of({}, [Version(stamp, kind, inline=None if later else b"contents")]))
                key = FileName(bucket, f"d/{number % 10}/{number:06}").key
                writes += [node.replication.record_service.merge_record(key, data, is_old=True) for node in nodes]
            await asyncio.gather(*writes)


async def page_ms(session: ClientSession, url: str, bucket: str, query: dict[str, str], rounds: int) -> list[float]:
    """Return how many milliseconds a page takes: the first time, and the median of some more."""
    took = []
    for _ in range(rounds + 1):
        began_s = time.perf_counter()
        async with session.get(f"{url}/v1/files/{bucket}", params=query) as response:
            response.raise_for_status()
            await response.read()
        took.append(1000 * (time.perf_counter() - began_s))
    return [took[0], statistics.median(took[1:])]


async def measure(chosen: argparse.Namespace, data: Path) -> None:
    """Fill two buckets and compare them."""
    nodes = [Node(settings_of(index, chosen.port, data)) for index in range(len(NAMES))]
    for node in nodes:
        await node.start()
    url = f"http://127.0.0.1:{chosen.port}"
    try:
        async with ClientSession() as session:
            while True:
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        break
                await asyncio.sleep(0.1)
            for bucket in ("clean", "deleted"):
                await fill(session, url, bucket, chosen.files)
            await bury(nodes, "deleted", chosen.tombstones)
            print(f"{chosen.tombstones} tombstones before {chosen.files} files; milliseconds, first and median page")
            for query in QUERIES:
                clean = await page_ms(session, url, "clean", query, chosen.rounds)
                deleted = await page_ms(session, url, "deleted", query, chosen.rounds)
                told = " ".join(f"{name}={value}" for name, value in query.items())
                print(
                    f"{told:36} without {clean[0]:8.2f} {clean[1]:8.2f}   with {deleted[0]:8.2f} {deleted[1]:8.2f}"
                    f"   {deleted[1] / clean[1]:5.2f}x"
                )
    finally:
        for node in nodes:
            await node.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tombstones", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--port", type=int, default=5180)
    parser.add_argument("--data", type=Path, default=None)
    chosen = parser.parse_args()
    configure_logs("error", "console")
    with tempfile.TemporaryDirectory(dir=chosen.data) as data:
        asyncio.run(measure(chosen, Path(data)))


if __name__ == "__main__":
    sys.exit(main())
