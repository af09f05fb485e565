"""`dynafs ring`: looking at the ring."""

from typing import Annotated, Any

import typer
from rich.table import Table

from dynafs.cli.output import (
    DEFAULT_URL,
    JsonOption,
    TokenOption,
    UrlOption,
    out,
    print_json,
    split_target,
    talk,
)
from dynafs.cli.staging import add_staging_commands
from dynafs.cli.transition import add_transition_commands
from dynafs.client import DynafsClient

ring_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
add_staging_commands(ring_app)
add_transition_commands(ring_app)


@ring_app.command()
def show(url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False) -> None:
    """Show the members, their state and their share of the partitions."""
    found: dict[str, Any] = talk(url, token, lambda client: client.ring(), as_json=as_json)
    if as_json:
        print_json(found)
        return
    out.print(
        f"epoch {found['epoch']}, {found['partitions']} partitions x {found['n']} copies, seen by {found['seen_by']}"
    )
    table = Table("state", "node", "zone", "weight", "partitions", "share", box=None, pad_edge=False)
    total = found["partitions"] * found["n"]
    for member in found["members"]:
        state = "UN" if member["is_up"] else "DN"
        share = f"{100 * member['partitions'] / total:.1f} %"
        table.add_row(state, member["node"], member["zone"], f"{member['weight']:g}", str(member["partitions"]), share)
    out.print(table)
    for node in found["waiting"]:
        out.print(f"{node} waits to be staged: dynafs ring stage join {node} --address HOST:PORT")
    if found["step"] != "stable":
        out.print(f"the ring changes ({found['step']}): dynafs ring transfers")


@ring_app.command()
def locate(
    target: Annotated[str, typer.Argument(metavar="BUCKET/PATH", help="A file, stored or not.")],
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show which nodes own a file's record, and who would stand in."""
    bucket, path = split_target(target)

    async def work(client: DynafsClient) -> dict[str, Any]:
        return await client.locate(bucket, path)

    found = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(found)
        return
    out.print(f"partition {found['partition']}")
    table = Table("role", "state", "node", "zone", "address", box=None, pad_edge=False)
    for node in found["nodes"]:
        table.add_row(node["role"], "UN" if node["is_up"] else "DN", node["node"], node["zone"], node["address"])
    out.print(table)
