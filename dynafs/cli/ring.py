"""`dynafs ring`: looking at the ring."""

import shlex
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from dynafs.cli.output import (
    DEFAULT_URL,
    JsonOption,
    TokenOption,
    UrlOption,
    human_size,
    split_target,
    talk,
)
from dynafs.cli.staging import add_staging_commands
from dynafs.cli.terminal import out, print_json
from dynafs.cli.transition import add_transition_commands
from dynafs.client import DynafsClient

#: Exit code of `check` when files cannot be served.
EXIT_BROKEN = 2

ring_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
add_staging_commands(ring_app)
add_transition_commands(ring_app)


@ring_app.command()
def status(url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False) -> None:
    """Show every node: up or down; normal, joining, leaving or moving; its share, and what it says of itself."""
    found: dict[str, Any] = talk(url, token, lambda client: client.ring_status(), as_json=as_json)
    if as_json:
        print_json(found)
        return
    out.say(
        f"epoch {found['epoch']}, {found['partitions']} partitions x {found['n']} copies, seen by {found['seen_by']}"
    )
    table = Table("", "node", "zone", "weight", "copies", "share", "stored", "epoch", "clock", box=None, pad_edge=False)
    for node in found["nodes"]:
        said = (human_size(node["bytes"]), str(node["epoch"]), f"{node['clock_offset_ms']:+d} ms")
        table.add_row(
            node["state"], node["node"], node["zone"], f"{node['weight']:g}", str(node["partitions"]),
            f"{node['share']:.1%}", *(("?", "?", "?") if node["problem"] else said),
        )  # fmt: skip
    out.print(table)
    for node in found["nodes"]:
        if node["is_draining"]:
            out.say(f"{node['node']} is being drained: dynafs node resume {node['node']}")
    for node, address in found["waiting"].items():
        where = f" at {address}" if address else ""
        out.say(f"{node} waits{where}: dynafs ring stage join {node}" + ("" if address else " --address HOST:PORT"))
    if found["step"] != "stable":
        out.say(f"the ring changes to epoch {found['next_epoch']} ({found['step']}): dynafs ring transfers")


@ring_app.command()
def check(url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False) -> None:
    """Say what is wrong; exit with 0 when nothing is, 1 when something is, 2 when files cannot be read or written."""
    found: dict[str, Any] = talk(url, token, lambda client: client.ring_status(), as_json=as_json)
    if as_json:
        print_json(found)
    else:
        for problem in found["problems"]:
            out.say(problem)
        if not found["problems"]:
            out.say(f"epoch {found['epoch']}: all {len(found['nodes'])} nodes are up and agree")
    if not found["has_quorum"]:
        raise typer.Exit(EXIT_BROKEN)
    if found["problems"]:
        raise typer.Exit(1)


@ring_app.command()
def history(url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False) -> None:
    """Show which rings there were, since when, and what was changed for them, as far as the node was there to see."""
    found: dict[str, Any] = talk(url, token, lambda client: client.ring_history(), as_json=as_json)
    if as_json:
        print_json(found)
        return
    table = Table("epoch", "began", "ended", "outcome", "changes", box=None, pad_edge=False)
    for past in found["rings"]:
        began, ended = (_when(past[field]) for field in ("began_unix_ms", "ended_unix_ms"))
        table.add_row(str(past["epoch"]), began, ended, past["outcome"], ", ".join(past["changes"]))
    out.print(table)


def _when(unix_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ms / 1000)) if unix_ms else "-"


@ring_app.command()
def locate(
    target: Annotated[str, typer.Argument(metavar="BUCKET/PATH", help="A file, stored or not.")],
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show which nodes own a file's record, and who would stand in; with commands to look at each."""
    bucket, path = split_target(target)

    async def work(client: DynafsClient) -> dict[str, Any]:
        return await client.locate(bucket, path)

    found = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(found)
        return
    out.say(f"partition {found['partition']}")
    table = Table("role", "state", "node", "zone", "address", box=None, pad_edge=False)
    for node in found["nodes"]:
        table.add_row(node["role"], "UN" if node["is_up"] else "DN", node["node"], node["zone"], node["address"])
    out.print(table)
    token_header = "-H 'Authorization: Bearer '\"$DYNAFS_TOKEN\" " if token else ""
    route = f"/v1/files/{quote(bucket, safe='')}/{quote(path)}"
    for node in found["nodes"]:
        if node["role"] == "owner" and node["http"]:
            line = f"curl -I {token_header}{shlex.quote('http://' + node['http'] + route)}"
            out.say(line)
