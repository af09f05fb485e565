"""How commands talk to a node and end: shared options, errors on standard error, exit codes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from dynafs.cli.terminal import err, print_json
from dynafs.client import DynafsClient
from dynafs.client.connection import CODE_OF_OTHERS
from dynafs.errors import (
    AnswerUnexpected,
    DynafsError,
    NotSafe,
    RequestInvalid,
    ServerRefused,
    ServerUnreachable,
    SiblingsFound,
)

DEFAULT_URL = "http://127.0.0.1:8080"
EXIT_REFUSED, EXIT_USAGE = 1, 2

UrlOption = Annotated[str, typer.Option("--url", envvar="DYNAFS_URL", help="Any node of the cluster.")]
TokenOption = Annotated[
    str, typer.Option("--token", envvar="DYNAFS_TOKEN", help="The node's http.token.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

T = TypeVar("T")


class GaveUp(DynafsError):
    """Something took longer than it may."""

    code = "gave_up"


def complain(message: str, details: Sequence[str] = ()) -> None:
    """Say on standard error what went wrong. details: a line each."""
    err.warn(message, word="error", style="red")
    for line in details:
        err.say(f"  {line}")


def fail(message: str, code: int, details: Sequence[str] = ()) -> NoReturn:
    """Say on standard error what went wrong, and exit."""
    complain(message, details)
    raise typer.Exit(code)


def talk(url: str, token: str, work: Callable[[DynafsClient], Coroutine[Any, Any, T]], *, as_json: bool = False) -> T:
    """Run `work` with a client; turn our errors into messages and exit codes.

    The node at `url` gets all requests: a command has few, and its errors are about the address that was given.
    """

    async def run() -> T:
        async with DynafsClient(url, token, is_ring_aware=False) as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except (DynafsError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        if as_json:
            print_json(error_json(error))
        fail(message_of(error), exit_code(error), details_of(error))


def talk_of_each(
    url: str,
    token: str,
    things: Sequence[str],
    work: Callable[[DynafsClient, str], Coroutine[Any, Any, object]],
    *,
    as_json: bool = False,
) -> None:
    """Run `work` for each of several things, also when some of them fail; then exit with the worst exit code. as_json:
    print a list of what came of each."""

    async def run() -> tuple[int, list[object]]:
        worst, results = 0, list[object]()
        async with DynafsClient(url, token, is_ring_aware=False) as client:
            for thing in things:
                try:
                    results.append(await work(client, thing))
                except BrokenPipeError:
                    raise
                except typer.Exit as ended:
                    worst = max(worst, ended.exit_code)
                except (DynafsError, OSError) as error:
                    worst = max(worst, exit_code(error))
                    results.append(error_json(error))
                    complain(_of(thing, message_of(error)), details_of(error))
        return worst, results

    try:
        worst, results = asyncio.run(run())
    except DynafsError as error:
        fail(message_of(error), exit_code(error))
    if as_json:
        print_json(results)
    if worst:
        raise typer.Exit(worst)


def _of(thing: str, message: str) -> str:
    is_named = message.startswith((f"{thing}:", f"'{thing}':")) or message.endswith(f" {thing}")
    return message if is_named else f"{thing}: {message}"


def exit_code(error: DynafsError | OSError) -> int:
    """Return what to exit with: 2 for wrong usage, a local file that cannot be used, when no node or something else
    answers, when what was asked for is not safe, or takes too long."""
    if isinstance(error, ServerRefused):
        return EXIT_USAGE if error.remote_code in (NotSafe.code, CODE_OF_OTHERS) else EXIT_REFUSED
    is_usage = isinstance(error, OSError | ServerUnreachable | AnswerUnexpected | RequestInvalid | GaveUp)
    return EXIT_USAGE if is_usage else EXIT_REFUSED


def message_of(error: DynafsError | OSError) -> str:
    """Return an error in words."""
    if isinstance(error, DynafsError):
        return error.message
    reason = error.strerror or str(error)
    return f"{error.filename or ''}: {reason[:1].lower()}{reason[1:]}".removeprefix(": ")


def details_of(error: DynafsError | OSError) -> list[str]:
    """Return what else there is to say of an error, a line each."""
    if not isinstance(error, SiblingsFound):
        return []
    rows = [f"{one['version']}  {human_size(one['size_bytes'])}" for one in error.versions]
    return [
        *rows,
        "fetch one of them: dynafs get BUCKET/PATH FILE --version VERSION",
        f"replace all of them: dynafs put FILE BUCKET/PATH --context {error.context}",
    ]


def error_json(error: DynafsError | OSError) -> dict[str, Any]:
    """Return an error for scripts."""
    if isinstance(error, OSError):
        return {"error": {"code": "os_error", "message": message_of(error)}}
    return {"error": {"code": error.code, "message": error.message, **error.evidence}}


def split_target(target: str) -> tuple[str, str]:
    """Return (bucket, path) of BUCKET/PATH; exit with a usage error otherwise."""
    bucket, _, path = target.partition("/")
    if not bucket or not path:
        fail(f"'{target}': name a file as BUCKET/PATH", EXIT_USAGE)
    return bucket, path


def human_size(size_bytes: int) -> str:
    """Return a size as people read it."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
