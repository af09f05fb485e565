"""`dynafs census`: how many good copies everything has."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.table import Table

from dynafs.cli.output import DEFAULT_URL, EXIT_REFUSED, JsonOption, TokenOption, UrlOption, talk
from dynafs.cli.terminal import err, marked, out, print_json
from dynafs.client import DynafsClient
from dynafs.errors import DynafsError

#: How often to look whether the count is finished.
LOOK_S = 0.3
#: Things that lack copies and are named in one sentence.
NAMED_MAX = 3


class CensusFailed(DynafsError):
    """The node gave the count up."""

    code = "census_failed"


def add_census_command(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(census)


def census(
    deep: Annotated[bool, typer.Option("--deep", help="Read and verify every byte, too.")] = False,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Count the good copies of everything and show what is at risk. Exit code 0 only when all is whole."""

    async def work(client: DynafsClient) -> dict[str, Any]:
        with err.waiting("counting") as show:
            return await take_census(
                client, lambda count: show(f"counting: {count} files and deletes so far"), deep=deep
            )

    report = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if not report["is_whole"]:
        raise typer.Exit(EXIT_REFUSED)


async def take_census(
    client: DynafsClient, on_progress: Callable[[int], None], *, deep: bool = False
) -> dict[str, Any]:
    """Have the node count, telling of how many files and deletes it did so far; return the report of a census that
    began after this call. Raises CensusFailed, DynafsError."""
    seen = await client.act_on_job("census", "start", **({"deep": "true"} if deep else {}))
    # A census that another call started ends first.
    others = seen["begun"]
    while (status := await client.job("census"))["runs"] + status["failures"] <= others:
        if status["state"] in ("idle", "failed"):
            raise CensusFailed(status["last_error"] or "the node started again before the census ended")
        on_progress(status["items"])
        await asyncio.sleep(LOOK_S)
        seen = status
    if status["failures"] > seen["failures"]:
        raise CensusFailed(status["last_error"])
    return await client.census()


def missing_in(report: dict[str, Any]) -> str:
    """Return in words what a census misses."""
    if report["silent"]:
        return "; ".join(f"{node} does not answer ({code})" for node, code in report["silent"].items())
    n, parts = report["n"], []
    for what in ("files", "chunks", "partitions"):
        count = sum(number for copies, number in report[what].items() if int(copies) != n)
        if count:
            parts.append(f"{count} {what if count > 1 else what[:-1]}")
    named = [
        f"{one['path']} {one['what']} ({', '.join(f'{node} {state}' for node, state in one['nodes'].items())})"
        for one in report["lacking"][:NAMED_MAX]
    ]
    return f"copies of {' and '.join(parts[:2]) or 'nothing'} are missing: {', '.join(named)}"


def _print_report(report: dict[str, Any]) -> None:
    n = report["n"]
    table = Table("good copies", "partitions", "files", "chunks", box=None, pad_edge=False)
    for copies in range(n, -1, -1):
        cells = [str(report[what].get(str(copies), 0)) for what in ("partitions", "files", "chunks")]
        if copies == n or set(cells) != {"0"}:
            table.add_row(f"{copies} of {n}", *cells)
    out.print(table)
    seconds = (report["finished_unix_ms"] - report["started_unix_ms"]) / 1000
    out.say(f"{report['deleted']} deletes are remembered; counted in {seconds:.1f} s")
    for node, code in report["silent"].items():
        out.print(marked("red", f"{node} does not answer: {code}"), soft_wrap=True)
    for one in report["lacking"]:
        states = ", ".join(f"{node} {state}" for node, state in one["nodes"].items())
        count = marked("red", f"{one['copies']} of {n}")
        out.print(count, f" {one['path']}  {one['what']}  {states}", soft_wrap=True)
    if report["is_whole"]:
        out.say("everything has all its copies")
