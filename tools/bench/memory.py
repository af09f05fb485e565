#!/usr/bin/env python3
"""Peak resident memory of each node while many large files are uploaded at once through one node.

    tools/dev test-memory [--uploads 64] [--size-mib 256] [--limit-mib 400]

Every upload has contents of its own. Exits with 1 when a node's peak is above the limit or an upload fails.
"""

import argparse
import http.client
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from tools.bench.machine import peak_resident_bytes
from tools.bench.targets import Dynafs

PIECE_SIZE_BYTES = 1 << 20


def upload(url: str, number: int, size_mib: int, failures: list[str]) -> None:
    """PUT one file of random contents; retry while the node says that it is full."""
    host = url.removeprefix("http://")
    block = bytearray(os.urandom(PIECE_SIZE_BYTES))
    for _ in range(100):
        connection = http.client.HTTPConnection(host, timeout=300)
        try:
            connection.putrequest("PUT", f"/v1/files/memory/{number}")
            connection.putheader("Content-Length", str(size_mib << 20))
            connection.endheaders()
            for piece in range(size_mib):
                block[:16] = piece.to_bytes(8, "big") + number.to_bytes(8, "big")
                connection.send(block)
            response = connection.getresponse()
            body = response.read()
        except OSError as error:
            body, response = str(error).encode(), None
        finally:
            connection.close()
        if response is not None and response.status == 201:
            return
        if response is not None and response.status != 503:
            break
        time.sleep(1)
    failures.append(f"upload {number}: {body[:200]!r}")


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=64)
    parser.add_argument("--size-mib", type=int, default=256)
    parser.add_argument("--limit-mib", type=int, default=400)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / ".dynafs")
    arguments = parser.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.data) as work:
        target = Dynafs(Path(work) / "cluster")
        try:
            target.start()
            failures: list[str] = []
            started = time.monotonic()
            threads = [
                threading.Thread(target=upload, args=(target.urls[0], i, arguments.size_mib, failures))
                for i in range(arguments.uploads)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.monotonic() - started
            peaks = {name: peak_resident_bytes(pid) >> 20 for name, pid in target.processes().items()}
        finally:
            target.stop()
    total_mb = arguments.uploads * arguments.size_mib * 1.048576
    print(f"{arguments.uploads} uploads of {arguments.size_mib} MiB in {seconds:.0f} s, {total_mb / seconds:.0f} MB/s")
    print("peak resident MiB: " + ", ".join(f"{name} {size}" for name, size in peaks.items()))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures or max(peaks.values()) > arguments.limit_mib else 0


if __name__ == "__main__":
    sys.exit(main())
