"""`dynafs ring stage`, `ring plan` and `ring clear`: preparing changes of the ring, and seeing what they would take."""

from typing import Annotated, Any

import typer
from rich.table import Table

from dynafs.cli.arguments import (
    node_callback,
    optional_address_callback,
    optional_zone_callback,
    weight_callback,
    zone_callback,
)
from dynafs.cli.output import DEFAULT_URL, JsonOption, TokenOption, UrlOption, human_size, talk
from dynafs.cli.terminal import out, print_json
from dynafs.client import DynafsClient

stage_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

#: Of a node that need not keep the rule for names: it may be a member from before there was one.
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name.")]
NewNodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name.", callback=node_callback)]
ZoneOption = Annotated[
    str,
    typer.Option(
        "--zone", help="Its failure domain; what its settings say.", show_default=False, callback=optional_zone_callback
    ),
]
WeightOption = Annotated[
    float, typer.Option("--weight", help="Its share of the data, relative to others.", callback=weight_callback)
]
AddressOption = Annotated[
    str,
    typer.Option(
        "--address", help="HOST:PORT where its peers reach it; by itself it says so.", show_default=False,
        callback=optional_address_callback,
    ),
]  # fmt: skip


def add_staging_commands(app: typer.Typer) -> None:
    """Register the commands below `ring`."""
    app.add_typer(stage_app, name="stage", help="Prepare changes; nothing moves for them.")
    app.command()(plan)
    app.command()(clear)


@stage_app.command()
def join(
    node: NewNodeArgument,
    zone: ZoneOption = "",
    weight: WeightOption = 1.0,
    address: AddressOption = "",
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Have a node take its share."""
    _stage(url, token, as_json, kind="join", node=node, zone=zone or None, weight=weight, address=address)


@stage_app.command()
def leave(
    node: NodeArgument, url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False
) -> None:
    """Have the others take over what a node owns."""
    _stage(url, token, as_json, kind="leave", node=node)


@stage_app.command()
def replace(
    node: NodeArgument,
    by: Annotated[str, typer.Argument(metavar="BY", help="The node that takes its place.", callback=node_callback)],
    address: AddressOption = "",
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Have one node own exactly what another one does."""
    _stage(url, token, as_json, kind="replace", node=node, by=by, address=address)


@stage_app.command()
def weight(
    node: NodeArgument,
    weight: Annotated[
        float, typer.Argument(help="Its share of the data, relative to others.", callback=weight_callback)
    ],
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Change a node's share."""
    _stage(url, token, as_json, kind="weight", node=node, weight=weight)


@stage_app.command()
def zone(
    node: NodeArgument,
    zone: Annotated[str, typer.Argument(help="Its failure domain.", callback=zone_callback)],
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say where a node stands."""
    _stage(url, token, as_json, kind="zone", node=node, zone=zone)


def plan(url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False) -> None:
    """Show what the staged changes would take: what moves where, the balance, and what losing a node would mean."""
    _show(talk(url, token, lambda client: client.ring_plan(), as_json=as_json), as_json=as_json)


def clear(url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False) -> None:
    """Forget all staged changes."""
    _show(talk(url, token, lambda client: client.clear_staged(), as_json=as_json), as_json=as_json)


def _stage(url: str, token: str, as_json: bool, **change: Any) -> None:
    async def work(client: DynafsClient) -> dict[str, Any]:
        return await client.stage(**change)

    _show(talk(url, token, work, as_json=as_json), as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        show_plan(found)


def show_plan(found: dict[str, Any]) -> None:
    """Print what the staged changes would take."""
    if not found["staged"]:
        out.say(f"nothing is staged; the ring stays at epoch {found['epoch']}")
        return
    out.say(f"staged for epoch {found['epoch'] + 1}, plan {found['hash']}:")
    for change in found["staged"]:
        out.say(f"  {change}")
    _print_nodes(found)
    size = human_size(found["moves_bytes"])
    out.say(
        f"{found['moves']} of {found['partitions'] * found['n']} copies move, about {size} by what this node stores; "
        f"{found['moves_min']} must. The fullest node is {found['imbalance']:.1%} above its share."
    )
    for row in found["transfers"]:
        out.say(f"  {row['copies']} copies from {row['from']} to {row['to']}")
    for warning in found["warnings"]:
        out.warn(warning)
    _print_losses(found)


def _print_nodes(found: dict[str, Any]) -> None:
    table = Table("node", "zone", "weight", "copies", "after", "incoming", "about", box=None, pad_edge=False)
    for node in found["nodes"]:
        table.add_row(
            node["node"], node["zone"], f"{node['weight']:g}", str(node["before"]), str(node["after"]),
            str(node["incoming"]), human_size(node["incoming_bytes"]),
        )  # fmt: skip
    out.print(table)


def _print_losses(found: dict[str, Any]) -> None:
    """Say of which nodes and zones the loss would leave fewer copies than a write needs."""
    risky = []
    for loss in found["losses"]:
        below = sum(count for left, count in loss["copies"].items() if int(left) < found["w"])
        if below:
            risky.append(f"losing {loss['kind']} {loss['name']} leaves {below} partitions with fewer than {found['w']}")
    for line in risky:
        out.warn(f"{line} copies")
    if not risky:
        out.say(f"afterwards any one node or zone can be lost: {found['w']} copies or more are left of everything")
