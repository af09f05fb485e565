"""`dynafs storage`: mending a stopped node's data directory."""

import os
from pathlib import Path
from secrets import token_hex
from typing import Annotated

import typer

from dynafs.cli.output import EXIT_USAGE, fail
from dynafs.cli.terminal import out
from dynafs.config import load_settings
from dynafs.errors import DynafsError
from dynafs.node import named
from dynafs.storage.directory import DataDirectory
from dynafs.storage.mending import rebuild_index, set_index_aside

storage_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@storage_app.callback()
def storage() -> None:
    """Commands for a node that is not running."""


@storage_app.command("rebuild-index")
def rebuild(
    config: Annotated[Path, typer.Option("--config", help="Settings file of the node.")],
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Set an index that cannot be opened aside; its records are lost here."),
    ] = False,
) -> None:
    """Find every chunk in the segment files and index it anew."""
    try:
        settings = named(load_settings(config, {**os.environ, "DYNAFS_HTTP_TOKEN": "not-serving"}))
        with DataDirectory(
            Path(settings.node.data_dir), settings.cluster.id, settings.node.name, token_hex(4)
        ) as directory:
            if from_scratch and (aside := set_index_aside(directory)) is not None:
                out.say(f"the old index was moved to {aside}")
            count = rebuild_index(directory, settings.storage)
    except DynafsError as error:
        fail(error.message, EXIT_USAGE)
    out.say(f"{count} chunks indexed")
