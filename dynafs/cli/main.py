"""The command's root."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from dynafs import __version__
from dynafs.cli import dev as dev_cluster
from dynafs.cli.attach import add_attach_command
from dynafs.cli.census import add_census_command
from dynafs.cli.ending import run_command
from dynafs.cli.explain import add_explain_command
from dynafs.cli.files import add_file_commands
from dynafs.cli.interpreter import own_command, own_environment
from dynafs.cli.jobs import add_job_commands
from dynafs.cli.maintenance import cluster_app, node_app
from dynafs.cli.output import EXIT_USAGE, fail, message_of
from dynafs.cli.ring import ring_app
from dynafs.cli.storage import storage_app
from dynafs.cli.transfer import add_transfer_commands
from dynafs.config import Settings, check_settings, exposed_secrets, load_settings
from dynafs.errors import ConfigError, DynafsError
from dynafs.membership.gossip import route_logs
from dynafs.node import named
from dynafs.node import serve as serve_node
from dynafs.observe.events import configure_logs, get_logger

app = typer.Typer(
    name="dynafs", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="A quorum-replicated file store. Exit codes: 0 done, 1 not found or refused, 2 usage, unreachable or unsafe.",
)  # fmt: skip
app.add_typer(ring_app, name="ring", help="The ring: who owns what.")
app.add_typer(node_app, name="node", help="One node: taking it out of service, and back.")
app.add_typer(cluster_app, name="cluster", help="All nodes.")
app.add_typer(storage_app, name="storage", help="One node's data directory, while the node is stopped.")
add_transfer_commands(app)
add_file_commands(app)
add_job_commands(app)
add_census_command(app)
add_explain_command(app)
add_attach_command(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dynafs {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before any command."""


def load_or_exit(config: Path) -> Settings:
    """Return the settings, or print every problem and exit."""
    try:
        return load_settings(config, os.environ)
    except ConfigError as error:
        fail(f"the settings in {config} cannot work:", EXIT_USAGE, error.problems)


@app.command()
def serve(
    config: Annotated[Path, typer.Option("--config", help="Settings file, see configs/node.toml.")],
    insecure: Annotated[bool, typer.Option("--insecure", help="Serve a public address without a token.")] = False,
) -> None:
    """Run one node in the foreground."""
    if insecure:
        os.environ.pop("DYNAFS_HTTP_TOKEN", None)
        settings = _load_insecure(config)
    else:
        settings = load_or_exit(config)
    try:
        settings = named(settings)
    except DynafsError as error:
        fail(error.message, EXIT_USAGE)
    # Nothing that a node writes is for other users of the machine.
    os.umask(0o077)
    configure_logs(settings.log.level, settings.log.format, node=settings.node.name)
    if exposed := exposed_secrets(config):
        get_logger().warning("settings.exposed", path=str(config), settings=exposed)
    route_logs()
    try:
        if uvloop.run(_serve(settings)):
            # The same process: whoever supervises it sees nothing of it, and an updated package is what starts.
            os.execve(sys.executable, own_command(*sys.argv[1:]), own_environment())  # noqa: S606
    except DynafsError as error:
        get_logger().error("node.failed", code=error.code, error=error.message)
        fail(error.message, EXIT_USAGE)
    except OSError as error:
        get_logger().error("node.failed", code="os_error", error=str(error))
        fail(message_of(error), EXIT_USAGE)


def _load_insecure(config: Path) -> Settings:
    try:
        settings = load_settings(config, {**os.environ, "DYNAFS_HTTP_TOKEN": "unused"})
        settings = msgspec.structs.replace(
            settings, http=msgspec.structs.replace(settings.http, token="", insecure=True)
        )
        check_settings(settings)
    except ConfigError as error:
        fail(f"the settings in {config} cannot work:", EXIT_USAGE, error.problems)
    return settings


async def _serve(settings: Settings) -> bool:
    """Run a node; return whether it is to be started again."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stopped.set)
    return await serve_node(settings, stopped)


@app.command()
def dev(
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=64, help="How many nodes.")] = 3,
    port: Annotated[int, typer.Option("--port", min=1024, max=65000, help="HTTP port of the first node.")] = 8080,
    data: Annotated[Path, typer.Option("--data", help="Directory for settings, data and logs.")] = Path(".dynafs"),
    shared_port: Annotated[
        int, typer.Option("--shared-port", min=0, max=65535, help="HTTP port that all nodes serve together; 0: none.")
    ] = 0,
    add: Annotated[bool, typer.Option("--add", help="Run one more node beside the cluster of --data.")] = False,
) -> None:
    """Run a local cluster; Ctrl-C stops it."""
    try:
        code = asyncio.run(dev_cluster.run_newcomer(data) if add else dev_cluster.run(nodes, port, data, shared_port))
    except DynafsError as error:
        fail(error.message, EXIT_USAGE)
    except OSError as error:
        fail(message_of(error), EXIT_USAGE)
    raise typer.Exit(code)


def run() -> None:
    """Entry point of the `dynafs` script."""
    run_command(lambda: app(standalone_mode=False))
