"""put and get."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dynafs.cli.content_type import content_type_of
from dynafs.cli.destination import local_path, open_destination
from dynafs.cli.output import (
    DEFAULT_URL,
    EXIT_USAGE,
    JsonOption,
    TokenOption,
    UrlOption,
    fail,
    human_size,
    message_of,
    split_target,
    talk,
    talk_of_each,
)
from dynafs.cli.terminal import out, print_json, transfer_bar
from dynafs.client import DynafsClient, LocalSource, open_source, open_standard_input

STANDARD_INPUT = ("-", "/dev/stdin")


def add_transfer_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(put)
    app.command()(get)


def put(
    sources: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Local files, FIFOs or devices; - for standard input.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="BUCKET/PATH", help="A name ending in / keeps the files' own names.")
    ],
    w: Annotated[int | None, typer.Option("--w", help="Nodes that must confirm.")] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="CONTEXT", help="Replace the versions that a reader with it saw."),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
    as_json: JsonOption = False,
) -> None:
    """Store files."""
    if len(sources) > 1 and not target.endswith("/"):
        fail(f"'{target}': several files need a name that ends in /", EXIT_USAGE)
    if context is not None and len(sources) > 1:
        fail("--context: it is of one file; store the files one by one", EXIT_USAGE)

    async def work(client: DynafsClient, source: str) -> dict[str, Any]:
        with _opened(source) as opened:
            bucket, path = _remote_name(source, opened, target)
            with transfer_bar() as bar:
                task = bar.add_task(f"put {path}", total=opened.size_bytes)
                receipt = await client.put(
                    bucket, path, opened, content_type=content_type_of(path), w=w, seen=context,
                    on_progress=lambda size_bytes: bar.advance(task, size_bytes),
                )  # fmt: skip
        if not as_json:
            nodes = ", ".join(receipt["stored_on"])
            out.say(f"{bucket}/{path}  {human_size(receipt['size_bytes'])}  on {nodes}")
        return receipt

    if len(sources) > 1:
        talk_of_each(url, token, sources, work, as_json=as_json)
        return
    receipt = talk(url, token, lambda client: work(client, sources[0]), as_json=as_json)
    if as_json:
        print_json(receipt)


@contextmanager
def _opened(source: str) -> Iterator[LocalSource]:
    if not source:
        fail("'': no such file or directory", EXIT_USAGE)
    with open_standard_input() if source in STANDARD_INPUT else open_source(Path(source)) as opened:
        yield opened


def _remote_name(source: str, opened: LocalSource, target: str) -> tuple[str, str]:
    """Return (bucket, path) to store a source as; exit with a usage error when there is none."""
    if target.endswith("/"):
        if source in STANDARD_INPUT or not opened.is_regular:
            what = "standard input" if source in STANDARD_INPUT else source
            fail(f"{what} has no name of its own: name the file as BUCKET/PATH", EXIT_USAGE)
        target += os.path.basename(source)  # noqa: PTH119
    return split_target(target)


def get(
    target: Annotated[str, typer.Argument(metavar="BUCKET/PATH", help="The file in the cluster.")],
    destination: Annotated[
        str | None, typer.Argument(metavar="FILE", help="Where to; a directory, or - for standard output.")
    ] = None,
    version: Annotated[
        str, typer.Option("--version", metavar="VERSION", help="Which one of several.", show_default=False)
    ] = "",
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = "",
) -> None:
    """Fetch a file; the local one appears only when it is whole."""
    bucket, path = split_target(target)
    local: Path | None = None
    if destination != "-":
        try:
            local = local_path(destination, path)
        except OSError as error:
            fail(message_of(error), EXIT_USAGE)

    async def work(client: DynafsClient) -> None:
        async with client.open(bucket, path, version=version) as file, open_destination(local) as opened:
            with transfer_bar() as bar:
                task = bar.add_task(f"get {path}", total=file.size_bytes)
                async for piece in file.pieces():
                    opened.write(piece)
                    bar.advance(task, len(piece))

    talk(url, token, work)
