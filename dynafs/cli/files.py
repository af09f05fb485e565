"""ls, stat, rm."""

from typing import Annotated, Any

import typer
from rich.table import Table

from dynafs.cli.output import (
    DEFAULT_URL,
    EXIT_USAGE,
    JsonOption,
    TokenOption,
    UrlOption,
    fail,
    human_size,
    split_target,
    talk,
    talk_of_each,
)
from dynafs.cli.terminal import out, print_json, print_null
from dynafs.client import DynafsClient

Target = Annotated[str, typer.Argument(metavar="BUCKET/PATH", help="The file in the cluster.")]


def add_file_commands(app: typer.Typer) -> None:
    """Add the file commands to the root."""
    for command in (ls, stat, rm):
        app.command()(command)


def ls(
    target: Annotated[str, typer.Argument(metavar="[BUCKET[/PREFIX]]", help="Nothing lists the buckets.")] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Do not fold names at /.")] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Print BUCKET/PATH as it is, a NUL character behind each.")
    ] = False,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """List buckets or files. Control characters in names are shown as \\n or \\x1b; scripts use --json or --null."""
    if null and as_json:
        fail("--null: --json prints names as they are, too; use one of them", EXIT_USAGE)
    bucket, _, prefix = target.partition("/")

    async def work(client: DynafsClient) -> list[dict[str, Any]]:
        if not bucket:
            return [{"bucket": name} async for name in client.buckets()]
        return [row async for row in client.list(bucket, prefix, "" if recursive else "/")]

    rows = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(rows)
        return
    if null:
        print_null(_whole_name(bucket, row) for row in rows)
        return
    for row in rows:
        if "path" in row:
            siblings = row.get("siblings", 0)
            size = f"{siblings + 1} versions" if siblings else human_size(row["size_bytes"])
            out.say(f"{size:>12}  {row['path']}")
        else:
            out.say(f"{'':>12}  {row.get('prefix') or row['bucket'] + '/'}")


def _whole_name(bucket: str, row: dict[str, Any]) -> str:
    return f"{bucket}/{row.get('path') or row.get('prefix')}" if bucket else row["bucket"] + "/"


def stat(target: Target, url: UrlOption = DEFAULT_URL, token: TokenOption = "", as_json: JsonOption = False) -> None:
    """Show a file's version and where every chunk lives."""
    bucket, path = split_target(target)

    async def work(client: DynafsClient) -> dict[str, Any]:
        found = await client.stat(bucket, path)
        while found["next"] is not None:
            more = await client.stat(bucket, path, first=found["next"])
            found["chunks"] += more["chunks"]
            found["next"] = more["next"]
        return found

    found = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(found)
        return
    _print_stat(found)


def _print_stat(found: dict[str, Any]) -> None:
    for field in ("version", "size_bytes", "etag", "content_type", "chunk_count"):
        out.say(f"{field:<13} {found[field]}")
    for one in found["siblings"]:
        out.say(f"{'sibling':<13} {one['version']}  {human_size(one['size_bytes'])}")
    if found["siblings"]:
        count = len(found["siblings"]) + 1
        out.warn(f"{count} versions stand side by side; `dynafs get` names them and how to choose")
    for name, value in found["metadata"].items():
        out.say(f"meta {name:<8} {value}")
    held = "  ".join(f"{node} {state}" for node, state in found["record"].items())
    out.say(f"{'record':<13} {held}" + ("  (contents inline)" if found["is_inline"] else ""))
    if found["chunks"]:
        table = Table("chunk", "id", "copies", box=None, pad_edge=False)
        for chunk in found["chunks"]:
            copies = "  ".join(f"{node} {state}" for node, state in chunk["copies"].items())
            table.add_row(str(chunk["index"]), chunk["id"][:16], copies)
        out.print(table)


def rm(
    targets: Annotated[list[str], typer.Argument(metavar="BUCKET/PATH...", help="Files to delete.")],
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
) -> None:
    """Delete files. One that cannot be deleted does not keep the others."""

    async def work(client: DynafsClient, target: str) -> None:
        await client.delete(*split_target(target))

    talk_of_each(url, token, targets, work)
