"""`dynafs node` and `dynafs cluster`: maintaining nodes while the cluster serves."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from dynafs.cli.census import take_census
from dynafs.cli.output import (
    DEFAULT_URL,
    EXIT_USAGE,
    JsonOption,
    TokenOption,
    UrlOption,
    fail,
    talk,
)
from dynafs.cli.terminal import err, out, print_json
from dynafs.client import DynafsClient
from dynafs.errors import DynafsError, ServerUnreachable

#: Pause between two looks at what is being waited for.
LOOK_S = 0.3

node_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
cluster_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most, for each node.")]


class GaveUp(DynafsError):
    """Something took longer than it may."""

    code = "gave_up"


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
            await _until(lambda: _keeps_nothing(client, node), timeout_s, f"{node} still keeps hints for others")
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
    """Restart every node, each after the one before is back and everything has all its copies again."""
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
    """Restart one node and wait until nothing is missing. Raises DynafsError."""
    before = await _row(client, node)
    await client.act_on_node(node, "drain", for_restart="true")
    await client.act_on_node(node, "restart")
    await _until(lambda: _is_back(client, node, before), timeout_s, f"{node} did not come back")
    await _until(lambda: _is_whole(client), timeout_s, f"after the restart of {node} copies are missing: dynafs census")


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


async def _is_whole(client: DynafsClient) -> bool:
    return bool((await take_census(client, lambda _: None))["is_whole"])


async def _keeps_nothing(client: DynafsClient, node: str) -> bool:
    return all(row["keeper"] != node for row in (await client.hints())["hints"])


async def _until(is_so: Callable[[], Awaitable[bool]], timeout_s: float, problem: str) -> None:
    """Wait until something is so; a node that does not answer may be the one that restarts. Raises GaveUp."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            if await is_so():
                return
        except ServerUnreachable as error:
            last = f"; {error.message}"
        else:
            last = ""
        if time.monotonic() > deadline_s:
            raise GaveUp(f"{problem} after {timeout_s:g} s{last}")
        await asyncio.sleep(LOOK_S)
