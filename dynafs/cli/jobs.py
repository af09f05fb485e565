"""`dynafs jobs` and `dynafs scrub`: what a node does in the background."""

from typing import Annotated, Any

import typer
from rich.table import Table

from dynafs.cli.output import DEFAULT_URL, EXIT_USAGE, JsonOption, TokenOption, UrlOption, fail, out, print_json, talk
from dynafs.client import DynafsClient

ACTIONS = ("start", "pause", "resume")


def add_job_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(jobs)
    app.command()(scrub)


def jobs(url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False) -> None:
    """Show what the node does in the background."""
    found: dict[str, Any] = talk(url, token, lambda client: client.jobs(), as_json=as_json)
    if as_json:
        print_json(found)
        return
    out.print(f"node {found['seen_by']}")
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
        found = await client.jobs()
        status: dict[str, Any] = next(job for job in found["jobs"] if job["name"] == "scrub")
        return status

    status = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(status)
    else:
        _print_table([status])


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table("job", "state", "runs", "checked", "mended", "last error", box=None, pad_edge=False)
    for job in rows:
        state = "paused" if job["is_paused"] else job["state"]
        table.add_row(job["name"], state, str(job["runs"]), str(job["items"]), str(job["mended"]), job["last_error"])
    out.print(table)
