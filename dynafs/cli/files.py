"""put, get, ls, stat, rm."""

import mimetypes
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from dynafs.cli.output import (
    DEFAULT_URL,
    EXIT_USAGE,
    JsonOption,
    TokenOption,
    UrlOption,
    fail,
    human_size,
    out,
    print_json,
    progress_bar,
    split_target,
    talk,
)
from dynafs.client import DynafsClient

Target = Annotated[str, typer.Argument(metavar="BUCKET/PATH", help="The file in the cluster.")]
PIECE_SIZE_BYTES = 1 << 20


def add_file_commands(app: typer.Typer) -> None:
    """Add the file commands to the root."""
    for command in (put, get, ls, stat, rm):
        app.command()(command)


def put(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A local file, or - for standard input.")],
    target: Annotated[str, typer.Argument(metavar="BUCKET/PATH", help="A name ending in / keeps the file's own name.")],
    w: Annotated[int | None, typer.Option("--w", help="Nodes that must confirm.")] = None,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Store a file."""
    is_stdin = str(source) == "-"
    if not is_stdin and not source.is_file():
        fail(f"{source}: no such file", EXIT_USAGE)
    if target.endswith("/") and not is_stdin:
        target += source.name
    bucket, path = split_target(target)
    content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"

    async def work(client: DynafsClient) -> dict[str, Any]:
        with progress_bar() as bar:
            total = None if is_stdin else source.stat().st_size
            task = bar.add_task(f"put {path}", total=total)
            body: Any = source if total == 0 else _read_pieces(source, bar, task)
            return await client.put(bucket, path, body, content_type=content_type, w=w)

    receipt = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(receipt)
    else:
        nodes = ", ".join(receipt["stored_on"])
        out.print(f"{bucket}/{path}  {human_size(receipt['size_bytes'])}  on {nodes}", soft_wrap=True, markup=False)


async def _read_pieces(source: Path, bar: Progress, task: TaskID) -> AsyncIterator[bytes]:
    with sys.stdin.buffer if str(source) == "-" else source.open("rb") as file:
        while piece := file.read(PIECE_SIZE_BYTES):
            yield piece
            bar.advance(task, len(piece))


def get(
    target: Target,
    destination: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; - for standard output.")] = None,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
) -> None:
    """Fetch a file; the local one appears only when it is whole."""
    bucket, path = split_target(target)
    local = destination or Path(Path(path).name)
    if local.is_dir():
        local = local / Path(path).name

    async def work(client: DynafsClient) -> None:
        async with client.open(bucket, path) as file:
            with progress_bar() as bar:
                task = bar.add_task(f"get {path}", total=file.size_bytes)
                if str(local) == "-":
                    async for piece in file.pieces():
                        sys.stdout.buffer.write(piece)
                    sys.stdout.buffer.flush()
                    return
                draft = local.with_name(local.name + ".part")
                try:
                    with draft.open("wb") as sink:
                        async for piece in file.pieces():
                            sink.write(piece)
                            bar.advance(task, len(piece))
                    draft.rename(local)
                except BaseException:
                    draft.unlink(missing_ok=True)
                    raise

    talk(url, token, work)


def ls(
    target: Annotated[str, typer.Argument(metavar="[BUCKET[/PREFIX]]", help="Nothing lists the buckets.")] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Do not fold names at /.")] = False,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """List buckets or files."""
    bucket, _, prefix = target.partition("/")

    async def work(client: DynafsClient) -> list[dict[str, Any]]:
        if not bucket:
            return [{"bucket": name} async for name in client.buckets()]
        return [row async for row in client.list(bucket, prefix, "" if recursive else "/")]

    rows = talk(url, token, work, as_json=as_json)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if "path" in row:
            out.print(f"{human_size(row['size_bytes']):>12}  {row['path']}", soft_wrap=True, markup=False)
        else:
            name = row.get("prefix") or row["bucket"] + "/"
            out.print(f"{'':>12}  {name}", soft_wrap=True, markup=False)


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
    for field in ("version", "size_bytes", "etag", "content_type", "chunk_count"):
        out.print(f"{field:<13} {found[field]}", soft_wrap=True, markup=False)
    for name, value in found["metadata"].items():
        out.print(f"meta {name:<8} {value}", soft_wrap=True, markup=False)
    held = "  ".join(f"{node} {state}" for node, state in found["record"].items())
    out.print(f"{'record':<13} {held}" + ("  (contents inline)" if found["is_inline"] else ""), markup=False)
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
    """Delete files."""
    names = [split_target(target) for target in targets]

    async def work(client: DynafsClient) -> None:
        for bucket, path in names:
            await client.delete(bucket, path)

    talk(url, token, work)
