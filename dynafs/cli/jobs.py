"""`dynafs jobs`, `dynafs scrub` and `dynafs hints`: what nodes do in the background."""

import asyncio
import time
from typing import Annotated, Any

import typer
from rich.table import Table

from dynafs.cli.arguments import parse_mib_per_s
from dynafs.cli.output import (
    DEFAULT_URL,
    EXIT_REFUSED,
    EXIT_USAGE,
    JsonOption,
    TokenOption,
    UrlOption,
    fail,
    human_size,
    talk,
)
from dynafs.cli.terminal import out, print_json
from dynafs.client import DynafsClient
from dynafs.ring.names import excerpt, is_node_name

ACTIONS = ("start", "pause", "resume")
HINT_ACTIONS = ("status", "wait", "pause", "resume")


def add_job_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(jobs)
    app.command()(scrub)
    app.command()(hints)


def jobs(
    limit: Annotated[
        str, typer.Option("--limit", metavar="JOB=MIB", help="Limit a job to so many MiB/s; 0: its own pace.")
    ] = "",
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what the node does in the background, or change how fast."""
    name, _, mib = limit.partition("=")
    mib_per_s = 0
    if limit:
        try:
            mib_per_s = parse_mib_per_s(mib)
        except ValueError as error:
            fail(f"--limit {excerpt(limit)}: use JOB=MIB, for example walk=10: {error}", EXIT_USAGE)
    if limit and not is_node_name(name):
        fail(f"--limit {excerpt(limit)}: name a job, as `dynafs jobs` does", EXIT_USAGE)

    async def work(client: DynafsClient) -> dict[str, Any]:
        if limit:
            await client.act_on_job(name, "limit", bytes_per_s_max=str(mib_per_s << 20))
        return await client.jobs()

    found = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(found)
        return
    out.say(f"node {found['seen_by']}")
    _print_table(found["jobs"])


def scrub(
    action: Annotated[str, typer.Argument(help="start, pause, resume or status.")] = "status",
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Check everything the node stores against its checksums: start, pause, resume, or see how far it is."""
    if action not in (*ACTIONS, "status"):
        fail(f"{action!r}: use start, pause, resume or status", EXIT_USAGE)

    async def work(client: DynafsClient) -> dict[str, Any]:
        if action != "status":
            return await client.act_on_job("scrub", action)
        return await client.job("scrub")

    status = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(status)
    else:
        _print_table([status])


def hints(
    action: Annotated[str, typer.Argument(help="status, wait, pause or resume.")] = "status",
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0, help="Seconds that wait waits at most.")] = 3600.0,
) -> None:
    """See what nodes keep for others that were away, or wait until all is handed over; pause or resume that here."""
    if action not in HINT_ACTIONS:
        fail(f"{action!r}: use {', '.join(HINT_ACTIONS)}", EXIT_USAGE)

    async def work(client: DynafsClient) -> dict[str, Any]:
        if action in ACTIONS:
            return await client.act_on_job("handoff", action)
        found = await client.hints()
        deadline_s = time.monotonic() + (timeout_s if action == "wait" else 0.0)
        while (found["hints"] or found["silent"]) and time.monotonic() < deadline_s:
            await asyncio.sleep(0.5)
            found = await client.hints()
        return found

    found = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(found)
    elif action in ACTIONS:
        _print_table([found])
    else:
        _print_hints(found)
    if action == "wait" and (found["hints"] or found["silent"]):
        raise typer.Exit(EXIT_REFUSED)


def _print_hints(found: dict[str, Any]) -> None:
    if found["hints"]:
        table = Table("kept by", "for", "things", "size", "oldest", box=None, pad_edge=False)
        for row in found["hints"]:
            age_s = max(time.time() - row["oldest_unix_ms"] / 1000, 0.0)
            table.add_row(row["keeper"], row["target"], str(row["count"]), human_size(row["bytes"]), f"{age_s:.0f} s")
        out.print(table)
    elif not found["silent"]:
        out.say("nothing is kept for other nodes")
    for node, code in found["silent"].items():
        out.say(f"{node} cannot say what it keeps: {code}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("job", "state", "runs", "done", "mended", "queued", "rate", "limit", "share"):
        table.add_column(column, no_wrap=True)
    table.add_column("last error", overflow="fold")
    for job in rows:
        state = "paused" if job["is_paused"] else job["state"]
        rate, limit = (f"{human_size(one)}/s" if one else "" for one in (job["bytes_per_s"], job["bytes_per_s_max"]))
        table.add_row(
            job["name"], state, str(job["runs"]), str(job["items"]), str(job["mended"]), str(job["queued"]),
            rate, limit, f"{job['share']:.0%}", job["last_error"],
        )  # fmt: skip
    out.print(table)
