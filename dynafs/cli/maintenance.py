"""`dynafs node` and `dynafs cluster`: maintaining nodes while the cluster serves."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from dynafs.cli.arguments import node_callback
from dynafs.cli.census import missing_in, take_census
from dynafs.cli.output import (
    DEFAULT_URL,
    EXIT_USAGE,
    GaveUp,
    JsonOption,
    TokenOption,
    UrlOption,
    fail,
    talk,
)
from dynafs.cli.terminal import err, out, print_json
from dynafs.client import DynafsClient
from dynafs.errors import ServerUnreachable

#: Pause between two looks at what is being waited for.
LOOK_S = 0.3

node_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
cluster_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name.", callback=node_callback)]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most, for each node.")]


@node_app.command()
def drain(
    node: NodeArgument,
    for_restart: Annotated[
        bool, typer.Option("--for-restart", help="It is back in a minute: what it keeps for others may stay there.")
    ] = False,
    timeout_s: TimeoutOption = 600.0,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a node out of service, if the others can do without it. Exit code 2 when they cannot, saying why."""

    async def work(client: DynafsClient) -> dict[str, Any]:
        told = await client.act_on_node(node, "drain", for_restart="true" if for_restart else "false")
        if not for_restart:
            wait = _Wait(client, node, timeout_s)
            await wait.until(wait.keeps_nothing, "still keeps hints for others")
        return told

    told = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(told)
    else:
        out.say(f"{node} is out of service: stop it now, or `dynafs node resume {node}`")


@node_app.command()
def resume(
    node: NodeArgument, url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False
) -> None:
    """Put a node that was drained back into service. A restart does that, too."""
    told = talk(url, token, lambda client: client.act_on_node(node, "resume"), as_json=as_json)
    if as_json:
        print_json(told)
    else:
        out.say(f"{node} is in service")


@cluster_app.command()
def restart(
    rolling: Annotated[bool, typer.Option("--rolling", help="One node after another; there is no other way.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    timeout_s: TimeoutOption = 600.0,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Restart every node, each after the one before is back and everything has all its copies again.

    Exit code 2 when a node takes longer than --timeout for that, saying what is missing.
    """
    if not rolling:
        fail("say --rolling: nodes are restarted one after another, so that the cluster serves meanwhile", EXIT_USAGE)
    if not yes:
        typer.confirm("Restart every node, one after another?", abort=True, err=True)

    async def work(client: DynafsClient) -> dict[str, Any]:
        seconds = {}
        for row in (await client.ring_status())["nodes"]:
            started_s = time.monotonic()
            with err.waiting(f"restarting {row['node']}"):
                await _restart(client, row["node"], timeout_s)
            seconds[row["node"]] = round(time.monotonic() - started_s, 1)
            if not as_json:
                out.say(f"{row['node']} is back after {seconds[row['node']]} s, and everything has all its copies")
        return {"restarted": seconds}

    told = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(told)


async def _restart(client: DynafsClient, node: str, timeout_s: float) -> None:
    """Restart one node and wait until nothing is missing, for no longer than the timeout in all. Raises DynafsError."""
    before, wait = await _row(client, node), _Wait(client, node, timeout_s)
    await client.act_on_node(node, "drain", for_restart="true")
    await client.act_on_node(node, "restart")
    await wait.until(lambda: _is_back(client, node, before), "is not back")
    await wait.until(wait.is_whole, "is back, but it is not counted yet whether all copies are there")


class _Wait:
    """Waits for one node until a deadline."""

    def __init__(self, client: DynafsClient, node: str, timeout_s: float) -> None:
        self._client, self._node, self._timeout_s = client, node, timeout_s
        self._deadline_s = time.monotonic() + timeout_s
        #: what is not so yet
        self._missing = ""

    async def until(self, is_so: Callable[[], Awaitable[bool]], missing: str) -> None:
        """Wait until something is so; a node that does not answer may be the one that restarts. Raises GaveUp.

        missing: what is said of the node while nothing more is found out.
        """
        self._missing = missing
        while True:
            last = ""
            try:
                # What is asked may take longer than there is time; at least one look is taken.
                async with asyncio.timeout(max(self._deadline_s - time.monotonic(), LOOK_S)):
                    if await is_so():
                        return
            except ServerUnreachable as error:
                last = f"; {error.message}"
            except TimeoutError:
                pass
            if time.monotonic() >= self._deadline_s:
                raise GaveUp(f"gave up after {self._timeout_s:g} s: {self._node} {self._missing}{last}")
            await asyncio.sleep(LOOK_S)

    async def is_whole(self) -> bool:
        """Return whether the node has got what others keep for it, and everything has all its copies."""
        kept = [row for row in (await self._client.hints())["hints"] if row["target"] == self._node]
        if kept:
            count, keepers = sum(row["count"] for row in kept), ", ".join(sorted(row["keeper"] for row in kept))
            self._missing = f"is back, but {count} hints for it are still kept by {keepers}"
            return False
        report = await take_census(self._client, lambda _: None)
        self._missing = f"is back, but {missing_in(report)} (dynafs census)"
        return bool(report["is_whole"])

    async def keeps_nothing(self) -> bool:
        """Return whether the node keeps nothing for others any more."""
        return all(row["keeper"] != self._node for row in (await self._client.hints())["hints"])


async def _row(client: DynafsClient, node: str) -> dict[str, Any]:
    return _row_of(await client.ring_status(), node)


def _row_of(found: dict[str, Any], node: str) -> dict[str, Any]:
    for row in found["nodes"]:
        if row["node"] == node:
            return dict(row)
    raise GaveUp(f"{node} is no node of the ring any more")


async def _is_back(client: DynafsClient, node: str, before: dict[str, Any]) -> bool:
    found = await client.ring_status()
    row = _row_of(found, node)
    is_new = row["started_unix_ms"] != before["started_unix_ms"]
    return bool(found["has_quorum"] and is_new and not row["problem"] and not row["is_draining"])
