"""`dynafs explain`: everything about one file, on one page."""

from typing import Annotated, Any

import typer
from rich.table import Table

from dynafs.cli.output import (
    DEFAULT_URL,
    EXIT_REFUSED,
    JsonOption,
    TokenOption,
    UrlOption,
    split_target,
    talk,
)
from dynafs.cli.terminal import marked, out, print_json


def add_explain_command(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(explain)


def explain(
    target: Annotated[str, typer.Argument(metavar="BUCKET/PATH")],
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show who owns a file, who holds what of it and why, and what repair will do next."""
    bucket, path = split_target(target)
    told: dict[str, Any] = talk(url, token, lambda client: client.explain(bucket, path), as_json=as_json)
    if as_json:
        print_json(told)
    else:
        _print_page(told)
    if not told["versions"]:
        raise typer.Exit(EXIT_REFUSED)


def _print_page(told: dict[str, Any]) -> None:
    out.say(f"{told['bucket']}/{told['path']}  partition {told['partition']}")
    count = len(told["versions"])
    what = "deleted" if told["deleted"] else "unknown" if not count else f"{count} version{'s' * (count > 1)}"
    out.say(f"{what}  {', '.join(told['versions'])}")
    table = Table("node", "role", "up", "record", "holds", "keeps for", box=None, pad_edge=False)
    for view in told["nodes"]:
        keeps = ", ".join(f"{node}: {count}" for node, count in view["keeps_for"].items())
        up = "yes" if view["is_up"] else marked("red", "no")
        table.add_row(view["node"], view["role"], up, view["state"], ", ".join(view["versions"]), keeps)
    out.print(table)
    copies = ", ".join(f"{count} {state}" for state, count in sorted(told["chunk_copies"].items()))
    out.say(f"chunks: {told['chunk_count']}" + (f", copies: {copies}" if copies else ""))
    for bad in told["bad_copies"]:
        out.print(marked("red", f"  {bad['state']}"), f"on {bad['node']}: {bad['chunk']}", soft_wrap=True)
    out.say("next:")
    for step in told["next_steps"]:
        out.say(f"  {step}")
