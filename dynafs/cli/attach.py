"""`dynafs attach`: a prompt inside a running node of this machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dynafs.attach import Console, socket_path
from dynafs.cli.output import EXIT_REFUSED, EXIT_USAGE, fail
from dynafs.cli.terminal import print_text, shown
from dynafs.errors import NotFound, ServerUnreachable

GREETING = """Python inside {node}; `await` works. Names: node, settings, replication, store, peers, ring, jobs, ask.
What computes here keeps the node from serving meanwhile. Ctrl-D ends it.
"""


def add_attach_command(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(attach)


def attach(
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node of `dynafs dev`, or any node's data directory.")],
    data: Annotated[Path, typer.Option("--data", help="Directory that `dynafs dev` was given.")] = Path(".dynafs"),
) -> None:
    """Type Python into a running node, to look around: for instance `ring.loads` or `await ask("n2", ReadRing())`."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        import readline  # noqa: F401, PLC0415  gives `input` a memory, and would alter the terminal if imported always

        print_text(GREETING.format(node=shown(node)))

    def ask(prompt: str) -> str:
        return input(prompt if is_terminal else "")

    try:
        Console(socket_path(node, data), ask, print_text).run()
    except NotFound as error:
        fail(error.message, EXIT_USAGE)
    except ServerUnreachable as error:
        fail(error.message, EXIT_REFUSED)
