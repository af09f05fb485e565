"""`python -m dynafs` is the `dynafs` command."""

import signal


def run() -> None:
    """Entry point of the `dynafs` script."""
    # The rest of the program takes a while to load; Ctrl-C in that time ends the process without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dynafs.cli.main import run as run_loaded  # noqa: PLC0415

    run_loaded()


if __name__ == "__main__":
    run()
