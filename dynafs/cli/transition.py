"""`dynafs ring commit`, `transfers` and `cancel`: changing the ring while it serves."""

import asyncio
from typing import Annotated, Any

import typer

from dynafs.cli.output import (
    DEFAULT_URL,
    EXIT_REFUSED,
    JsonOption,
    TokenOption,
    UrlOption,
    talk,
)
from dynafs.cli.staging import show_plan
from dynafs.cli.terminal import count_bars, err, out, print_json
from dynafs.client import DynafsClient
from dynafs.ring.names import MIB_PER_S_MAX

#: Pause between two looks at a change that is under way.
LOOK_S = 0.5

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_transition_commands(app: typer.Typer) -> None:
    """Register the commands below `ring`."""
    app.command()(commit)
    app.command()(transfers)
    app.command()(throttle)
    app.command()(cancel)


def commit(
    plan_hash: Annotated[str, typer.Argument(metavar="[PLAN]", help="The plan's hash, as `ring plan` shows it.")] = "",
    yes: YesOption = False,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Begin to move to the ring of the staged changes; the cluster serves meanwhile."""
    plan = talk(url, token, lambda client: client.ring_plan(), as_json=as_json)
    if not as_json:
        show_plan(plan)
    if not plan["staged"] and not plan_hash:
        raise typer.Exit(1)
    if not yes:
        typer.confirm("Move to this ring?", abort=True, err=True)

    async def work(client: DynafsClient) -> dict[str, Any]:
        return await client.commit_ring(plan_hash or plan["hash"])

    _show(talk(url, token, work, as_json=as_json), as_json=as_json)


def cancel(
    yes: YesOption = False, url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False
) -> None:
    """Stay with the present ring, as long as nothing is read by the next one yet."""
    if not yes:
        typer.confirm("Give the change of the ring up?", abort=True, err=True)
    _show(talk(url, token, lambda client: client.cancel_ring(), as_json=as_json), as_json=as_json)


def throttle(
    mib_per_s: Annotated[
        int, typer.Argument(min=0, max=MIB_PER_S_MAX, metavar="MIB", help="MiB a second for each node; 0: as it likes.")
    ],
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say how fast every node may take over data while the ring changes, until it restarts."""
    told = talk(url, token, lambda client: client.throttle_ring(mib_per_s << 20), as_json=as_json)
    if as_json:
        print_json(told)
    else:
        out.say(f"up to {mib_per_s} MiB/s each" if mib_per_s else "each as fast as it likes")
        for node, problem in told["failed"].items():
            err.warn(f"{node}: {problem}")
    if told["failed"]:
        raise typer.Exit(EXIT_REFUSED)


def transfers(
    wait: Annotated[bool, typer.Option("--wait", help="Show bars until the change is over.")] = False,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show how far a change of the ring is."""

    async def work(client: DynafsClient) -> dict[str, Any]:
        found = await client.transfers()
        if not wait or found["step"] == "stable":
            return found
        with count_bars(is_disabled=as_json) as progress:
            bars: dict[str, Any] = {}
            while found["step"] != "stable":
                for row in found["nodes"]:
                    if row["node"] not in bars:
                        bars[row["node"]] = progress.add_task(row["node"], total=row["partitions"])
                    progress.update(bars[row["node"]], completed=row["done"] or 0)
                await asyncio.sleep(LOOK_S)
                found = await client.transfers()
            for bar in bars.values():
                progress.update(bar, completed=progress.tasks[bar].total)
        return found

    _show(talk(url, token, work, as_json=as_json), as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if found["step"] == "stable":
        out.say(f"nothing moves; the ring is at epoch {found['epoch']}")
        return
    out.say(f"from epoch {found['epoch']} to {found['next_epoch']}, {found['step']}; `dynafs ring transfers --wait`")
    for row in found["nodes"]:
        done = "does not answer" if row["done"] is None and found["step"] == "moving" else f"{row['done'] or 0} done"
        if found["step"] == "moving":
            out.say(f"  {row['node']}: {row['partitions']} partitions, {done}")
