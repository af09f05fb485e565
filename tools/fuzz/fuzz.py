#!/usr/bin/env python3
"""Send three real nodes what no client and no peer should send, and check that nothing breaks.

    tools/dev fuzz [--minutes 2] [--seed S] [--keep DIR] [TARGET ...]

Targets: http (requests), forms, staging (JSON of operators), strangers (the peers' port without the secret), peers
(with it), settings (files a node starts with). Each has its turn of some seconds, again and again. After every turn the
nodes must serve; no answer may be a 500; no log line may hold a traceback or be anything but JSON; warnings may come at
most once a second per address and kind; memory and descriptors may not grow.
"""

import argparse
import asyncio
import contextlib
import random
import shutil
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from dynafs.config import load_settings
from dynafs.errors import ConfigError, RemoteProtocolError
from dynafs.wire.frames import FrameDecoder, FrameKind, encode_frame
from dynafs.wire.handshake import CallerHandshake, decode_handshake, encode_handshake
from tests.support.processes import ProcessCluster
from tools.faults.client import Client
from tools.faults.stage import Stage
from tools.faults.telling import check, say
from tools.fuzz import http_inputs, peer_inputs
from tools.fuzz.inputs import NUMBERS, TEXTS, mutated
from tools.fuzz.node_watch import NodeWatch

ROOT = Path(__file__).resolve().parents[2]
TURN_S = 5.0
#: Connections at once.
WORKERS = 8
#: How long an answer is waited for; many inputs get none, because they are not whole.
ANSWER_S = 0.5


class Fuzzer:
    """One run against one cluster."""

    def __init__(self, cluster: ProcessCluster, client: Client, rng: random.Random) -> None:
        self.cluster, self.client, self.rng = cluster, client, rng
        self.sent: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        founding = tomllib.loads(cluster.configs["n1"].read_text())["cluster"]
        self._cluster_id, self._secret = founding["id"], founding["secret"].encode()

    async def http(self, make: Callable[[random.Random], bytes]) -> None:
        """Send one connection's worth of requests and look at the statuses."""
        data = b"".join(make(self.rng) for _ in range(self.rng.choice((1, 1, 1, 3))))
        answer = await self._exchange(self.client.cluster.url(self._node()).rpartition(":")[2], data)
        for line in answer.split(b"\r\n"):
            if line.startswith(b"HTTP/1."):
                self.statuses[line[9:12].decode("latin-1")] += 1
                if line[9:12] == b"500":
                    raise SystemExit(f"FAILED: 500 for {data[:3000]!r}: {answer[:2000]!r}")

    async def strangers(self) -> None:
        """Send the peers' port what a caller without the secret sends."""
        await self._exchange(str(self._peer_port()), peer_inputs.stranger(self.rng, self._cluster_id))

    async def peers(self) -> None:
        """Prove to be a node of the cluster, then send nonsense."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._peer_port())
        try:
            async with asyncio.timeout(5):
                await self._prove(reader, writer)
            writer.write(b"".join(peer_inputs.requests(self.rng)))
            async with asyncio.timeout(ANSWER_S):
                while await reader.read(1 << 16):
                    pass
        except (TimeoutError, ConnectionError, RemoteProtocolError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _prove(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handshake = CallerHandshake(self._secret, peer_inputs.hello(self.rng, self._cluster_id, "fuzzer"), "")
        decoder, waiting = FrameDecoder(), handshake.first()
        while not handshake.done:
            for message in waiting:
                writer.write(encode_frame(FrameKind.HELLO, 0, encode_handshake(message)))
            waiting = []
            data = await reader.read(1 << 16)
            if not data:
                raise ConnectionResetError
            for frame in decoder.feed(data):
                waiting += handshake.on_message(decode_handshake(frame.head))

    async def settings(self) -> None:
        """Load settings that are nearly right: an error in words, or settings that a node can start with."""
        source = (ROOT / "configs" / "node.toml").read_text()
        words = tuple(one.encode("utf-8", "replace") for one in (*NUMBERS, *TEXTS, "= -1", "= nan", "= [[[[", '"""'))
        path = self.cluster.path / "fuzzed.toml"
        path.write_bytes(mutated(self.rng, source.encode(), words, 3))
        try:
            load_settings(path, {"DYNAFS_CLUSTER_SECRET": "s" * self.rng.choice((0, 20))})
        except ConfigError:
            await asyncio.sleep(0)

    async def _exchange(self, port: str, data: bytes) -> bytes:
        """Send bytes; return what comes back until the other side closes or falls silent."""
        answer = bytearray()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        except ConnectionError:
            return b""
        try:
            writer.write(data)
            async with asyncio.timeout(ANSWER_S):
                await writer.drain()
                while piece := await reader.read(1 << 16):
                    answer += piece
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
        return bytes(answer)

    def _node(self) -> str:
        return self.rng.choice(self.cluster.names)

    def _peer_port(self) -> int:
        return self.cluster.peer_port(self._node())


def _inputs(fuzzer: Fuzzer) -> dict[str, Callable[[], Awaitable[None]]]:
    return {
        "http": lambda: fuzzer.http(http_inputs.request),
        "forms": lambda: fuzzer.http(http_inputs.form),
        "staging": lambda: fuzzer.http(http_inputs.change),
        "strangers": fuzzer.strangers,
        "peers": fuzzer.peers,
        "settings": fuzzer.settings,
    }


async def _turn(name: str, send: Callable[[], Awaitable[None]], fuzzer: Fuzzer) -> None:
    stop_s = time.monotonic() + TURN_S

    async def work() -> None:
        while time.monotonic() < stop_s:
            await send()
            fuzzer.sent[name] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())


async def _serves(fuzzer: Fuzzer, number: int) -> None:
    """Check that every node still stores and returns a file, whatever was staged; then nothing is staged."""
    client, nodes = fuzzer.client, fuzzer.cluster.names
    for node in nodes:
        status = await client.put(f"canary/{node}.{number % 10}", 3000, [node])
        outcome = await client.get(f"canary/{node}.{number % 10}", fuzzer.rng.choice(nodes)) if status == 201 else ""
        if outcome != "right":
            raise SystemExit(f"FAILED: after the turn, {node} answers a PUT with {status}, a GET is {outcome}")
    for path in ("/v1/ring/plan", "/v1/ring/status", "/v1/files", "/v1/files/fuzz?limit=100"):
        async with client.session.get(fuzzer.cluster.url(nodes[number % len(nodes)]) + path) as response:
            if response.status != 200:
                raise SystemExit(f"FAILED: after the turn, GET {path} is {response.status}: {await response.text()}")
    await client.json(nodes[0], "/v1/ring/clear", "POST")


def _turns(names: list[str], minutes: float) -> Iterator[str]:
    stop_s = time.monotonic() + 60 * minutes
    while time.monotonic() < stop_s:
        yield from names


async def run(chosen: argparse.Namespace, root: Path) -> None:
    """Fuzz until the time is over."""
    rng = random.Random(chosen.seed)
    stage = Stage(root, chosen.seed, 0, 0)
    async with stage.cluster(3, log={"format": '"json"'}, limits={"admission_timeout_s": 2.0}) as (cluster, client):
        await cluster.start()
        keeps_both = b'{"consistency": "available", "conflict": "keep-both"}'
        for bucket, policy in (("fuzz", b"{}"), ("both", keeps_both)):
            async with client.session.put(f"{cluster.url('n1')}/v1/buckets/{bucket}", data=policy) as response:
                check(f"bucket {bucket} is made", response.status == 201)
        fuzzer = Fuzzer(cluster, client, rng)
        watch = NodeWatch(cluster)
        inputs = _inputs(fuzzer)
        for number, name in enumerate(_turns(chosen.targets or list(inputs), chosen.minutes)):
            await _turn(name, inputs[name], fuzzer)
            await _serves(fuzzer, number)
            watch.after_turn(name, TURN_S)
        say(f"sent {dict(fuzzer.sent)}, answers {dict(sorted(fuzzer.statuses.items()))}")
        await watch.finish()


def main() -> None:
    """Fuzz the targets named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--keep", type=Path, help="leave data and logs in this directory")
    names = ("http", "forms", "staging", "strangers", "peers", "settings")
    parser.add_argument("targets", nargs="*", choices=[*names, []], metavar="TARGET")
    chosen = parser.parse_args()
    say(f"seed {chosen.seed}")
    root = chosen.keep or Path(tempfile.mkdtemp(prefix="dynafs-fuzz-"))
    try:
        asyncio.run(run(chosen, root))
    finally:
        if not chosen.keep:
            shutil.rmtree(root, ignore_errors=True)
    say("nothing broke")


if __name__ == "__main__":
    main()
