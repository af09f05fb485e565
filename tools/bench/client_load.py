#!/usr/bin/env python3
"""PUTs of small files through the Python client, as one process of `growth` makes them.

    client_load.py THROUGH CONNECTIONS SECONDS SEED URL [URL ...]

THROUGH is `owners` for one client that learns the ring, or `arbitrary` for clients that each stay with one URL. Prints
"ready" after warming up, begins to count at a line on standard input, and prints counts as JSON.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack

import uvloop

from dynafs.client import DynafsClient
from dynafs.files import FileName
from dynafs.http.owners import OWNERS_HEADER

SIZE_BYTES = 4096
BUCKET = "growth"
#: Until a client has learned and tried out the owners.
WARM_S = 2.5


class Load:
    """What all connections of this process count while `is_counting`."""

    def __init__(self, seed: str) -> None:
        self._seed, self._filler = seed, os.urandom(SIZE_BYTES)
        self._number = 0
        self.is_counting = self.is_over = False
        self.done = self.forwarded = self.failed = 0

    async def put_all(self, client: DynafsClient) -> None:
        """Store new files, one after the other, until it is over."""
        while not self.is_over:
            self._number += 1
            name = f"{self._seed}-{self._number}"
            body = (name.encode().ljust(64) + self._filler)[:SIZE_BYTES]
            headers = {"Content-Length": str(SIZE_BYTES)}
            request = client.request(
                "PUT", f"/v1/files/{BUCKET}/{name}", statuses=(201,), data=body, headers=headers,
                file=FileName(BUCKET, name),
            )  # fmt: skip
            try:
                async with request as response:
                    await response.read()
                    is_forwarded = OWNERS_HEADER in response.headers
            except Exception:  # noqa: BLE001  whatever it is, it is counted, and shown as failed
                self.failed += self.is_counting
            else:
                self.done += self.is_counting
                self.forwarded += self.is_counting and is_forwarded


async def main(through: str, connections: int, seconds: float, seed: str, urls: list[str]) -> None:
    """Run the load."""
    load = Load(seed)
    async with AsyncExitStack() as stack:
        if through == "owners":
            clients = [await stack.enter_async_context(DynafsClient(urls[0]))] * connections
        else:
            clients = [
                await stack.enter_async_context(DynafsClient(urls[i % len(urls)], is_ring_aware=False))
                for i in range(connections)
            ]
        puts = [asyncio.create_task(load.put_all(client)) for client in clients]
        await asyncio.sleep(WARM_S)
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        began_s, load.is_counting = time.monotonic(), True
        await asyncio.sleep(seconds)
        load.is_counting, took_s = False, time.monotonic() - began_s
        print(json.dumps({"done": load.done, "forwarded": load.forwarded, "failed": load.failed, "took_s": took_s}))
        sys.stdout.flush()
        load.is_over = True
        await asyncio.gather(*puts)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5:]))
