#!/usr/bin/env python3
"""Upgrade a real cluster under load, node by node, from an older commit to this checkout.

    tools/dev test-upgrade [REV] [--seed S] [--seconds S] [--failures-max N] [--keep DIR]

REV is any commit whose wire version works together with this checkout's. By default it is the latest tag before HEAD;
without tags, the commit at which this branch left main; on main, the commit before HEAD.

Three nodes run the code of REV, extracted into a temporary folder, with the libraries of this environment. All the time
clients PUT, GET, DELETE and list files of known contents, with fsync on. One node after the other is drained, stopped
and started with the code of this checkout on the same data. Afterwards every node must return every file and listing as
they were confirmed, and a deep census must find all copies.

Exit code 1: a confirmed write is lost, a response is wrong, more than --failures-max requests fail, a node does not
start, or its copies do not come together. Exit code 2: REV is unknown or cannot run beside this checkout.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.one_shot import one_shot_session
from tests.support.processes import ROOT, NodeEnded, ProcessCluster
from tools.checkout import UnknownRevision, checked_out, default_revision, git
from tools.faults.client import CLIENT_TIMEOUT, Client
from tools.faults.code_versions import Incompatible, check_compatible, versions_of
from tools.faults.stage import until, until_whole
from tools.faults.telling import check, say
from tools.faults.upgrade_load import Load

CLIENTS, ARCHIVE_FILES = 4, 40
DRAINED_S_MAX, WHOLE_S_MAX = 120.0, 180.0


class Upgrade:
    """One rolling upgrade of a running cluster."""

    def __init__(self, cluster: ProcessCluster, client: Client, load: Load, pause_s: float) -> None:
        """pause_s: how long nodes of both versions serve together after each restart."""
        self._cluster, self._client, self._load, self._pause_s = cluster, client, load, pause_s

    async def run(self) -> None:
        """Restart every node with the code of this checkout."""
        await asyncio.sleep(self._pause_s)
        for name in self._cluster.names:
            await self._drain(name)
            self._load.serving.remove(name)
            codes = await self._cluster.stop(name)
            try:
                await self._cluster.start(name)
            except (NodeEnded, TimeoutError) as error:
                raise SystemExit(f"FAILED: {name} does not start with new code on its old data: {error}") from None
            self._load.serving.append(name)
            await self._load.verify_archive(name)
            await asyncio.sleep(self._pause_s)
            say(f"{name} is upgraded; the old process ended with code {codes[name]}. {self._load.found()}")

    async def _drain(self, name: str) -> None:
        """Take a node out of service as soon as the others can do without it."""
        other = next(one for one in self._cluster.names if one != name)
        reply: dict = {}

        async def is_drained() -> bool:
            nonlocal reply
            reply = await self._client.json(other, f"/v1/nodes/{name}/drain?for_restart=true", "POST")
            return "error" not in reply

        try:
            await until(is_drained, DRAINED_S_MAX, f"{name} is drained")
        except SystemExit:
            say(f"{other} refuses to drain {name}: {reply}")
            raise


async def _start_old(cluster: ProcessCluster, source: Path) -> None:
    try:
        await cluster.start(source=source)
    except (NodeEnded, TimeoutError) as error:
        raise Incompatible(f"the old code does not start in this environment: {error}") from None


async def test(cluster: ProcessCluster, source: Path, chosen: argparse.Namespace) -> None:
    """Start the old nodes, upgrade them, and check what came of it."""
    async with one_shot_session(CLIENT_TIMEOUT) as session:
        client, load = Client(cluster, session, chosen.seed), Load(cluster, session, chosen.seed, CLIENTS)
        try:
            await _start_old(cluster, source)
            await load.fill(ARCHIVE_FILES)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                try:
                    await Upgrade(cluster, client, load, chosen.seconds).run()
                finally:
                    load.end()
            say(f"all nodes are upgraded; {dict(load.requests)} requests. {load.found()}")
            check(f"all copies are there after {await until_whole(client, WHOLE_S_MAX, deep=True):.1f} s", fact=True)
            count = await load.verify()
        finally:
            await cluster.stop()
    for problem in load.wrong[:20]:
        say(f"wrong: {problem}")
    check(f"every response is right, and every node returns all {count} files", not load.wrong)
    failed = load.failures.total()
    check(f"{failed} of {load.requests.total()} requests failed", failed <= chosen.failures_max)


def main() -> int:
    """Run the test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs="?", metavar="REV")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--seconds", type=float, default=4.0, help="load before the first and after every restart")
    parser.add_argument("--failures-max", type=int, default=0, help="requests without a result that are allowed")
    parser.add_argument("--keep", type=Path, help="leave data and logs in this directory")
    chosen = parser.parse_args()
    revision = chosen.revision or default_revision()
    say(f"seed {chosen.seed}; from {revision} ({git('log', '-1', '--format=%h %s', revision)})")
    path = chosen.keep or Path(tempfile.mkdtemp(prefix="dynafs-upgrade-"))
    try:
        source = checked_out(revision, path / "source")
        old, new = versions_of(source), versions_of(ROOT)
        check_compatible(old, new)
        say(f"wire version {old.wire} to {new.wire}")
        cluster = ProcessCluster(path / "cluster", storage={"durability": '"fsync"'})
        asyncio.run(test(cluster, source, chosen))
    except (Incompatible, UnknownRevision) as error:
        print(f"test-upgrade: {error}", file=sys.stderr)
        return 2
    finally:
        if not chosen.keep:
            shutil.rmtree(path, ignore_errors=True)
    say("all checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
