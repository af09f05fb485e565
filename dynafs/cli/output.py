"""How the command talks: tables for people, JSON for scripts, errors on standard error, exit codes."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from dynafs.client import DynafsClient
from dynafs.errors import DynafsError, NotSafe, ServerRefused, ServerUnreachable

DEFAULT_URL = "http://127.0.0.1:8080"
EXIT_REFUSED, EXIT_USAGE = 1, 2

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

UrlOption = Annotated[str, typer.Option("--url", envvar="DYNAFS_URL", help="Any node of the cluster.")]
TokenOption = Annotated[
    str, typer.Option("--token", envvar="DYNAFS_TOKEN", help="The node's http.token.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

T = TypeVar("T")


def print_json(value: object) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong on standard error and exit."""
    err.print(f"[red]error:[/red] {message}", soft_wrap=True, markup=True)
    raise typer.Exit(code)


def talk(url: str, token: str, work: Callable[[DynafsClient], Coroutine[Any, Any, T]], *, as_json: bool = False) -> T:
    """Run `work` with a client; turn our errors into messages and exit codes."""

    async def run() -> T:
        async with DynafsClient(url, token) as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except DynafsError as error:
        if as_json:
            print_json({"error": {"code": error.code, "message": error.message, **error.evidence}})
        fail(_escaped(error.message), exit_code(error))
    except BrokenPipeError:
        # The reader of our output went away; there is nobody to tell.
        os._exit(0)
    except OSError as error:
        fail(_escaped(f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")), EXIT_USAGE)


def exit_code(error: DynafsError) -> int:
    """Return what to exit with: 2 when nobody answers, or when what was asked for is not safe."""
    is_unsafe = isinstance(error, ServerRefused) and error.remote_code == NotSafe.code
    return EXIT_USAGE if is_unsafe or isinstance(error, ServerUnreachable) else EXIT_REFUSED


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")


def split_target(target: str) -> tuple[str, str]:
    """Return (bucket, path) of BUCKET/PATH; exit with a usage error otherwise."""
    bucket, _, path = target.partition("/")
    if not bucket or not path:
        fail(f"{target!r}: name a file as BUCKET/PATH", EXIT_USAGE)
    return bucket, path


def progress_bar() -> Progress:
    """Return a progress bar that shows on a terminal only."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(),
        TimeRemainingColumn(), console=err, disable=not sys.stderr.isatty(), transient=True,
    )  # fmt: skip


def human_size(size_bytes: int) -> str:
    """Return a size as people read it."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
