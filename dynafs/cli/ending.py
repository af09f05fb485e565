"""How the command begins and ends as a process: its standard streams, signals, and the exit code of what went wrong.

Exit codes: those of the commands (0, 1, 2); 128 and the signal's number for Ctrl-C (130), SIGTERM (143), SIGHUP (129);
141 without a word when the reader of the output went away, as if by SIGPIPE; 2 when the output cannot be written.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from fcntl import F_GETFL, fcntl
from types import FrameType
from typing import Any, NoReturn

import typer

from dynafs.cli.output import EXIT_REFUSED, EXIT_USAGE, complain, message_of
from dynafs.cli.terminal import err

#: ClickException, which typer has under different names in different versions.
_UsageProblem: Any = typer.BadParameter.__mro__[2]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_SIGNAL = 128


def run_command(command: Callable[[], object]) -> NoReturn:
    """Run a command that returns its exit code, or None for 0; exit with it."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    _heed_signals()
    try:
        code = _exit_code(command)
    except OSError:
        code = EXIT_USAGE  # standard error cannot be written either
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _discard(stream.fileno())
    sys.exit(code)


def _exit_code(command: Callable[[], object]) -> int:
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(1)
        return EXIT_SIGNAL + signal.SIGPIPE
    except SystemExit as ended:
        # Typer makes this of the same error; a test guards that.
        if isinstance(ended.__context__, BrokenPipeError):
            _discard(1)
            return EXIT_SIGNAL + signal.SIGPIPE
        return ended.code if isinstance(ended.code, int) else EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_SIGNAL + signal.SIGINT
    except typer.Abort:
        complain("aborted")
        return EXIT_REFUSED
    except OSError as error:
        _discard(1)
        complain(message_of(error) if error.filename else f"{_broken_stream(error)}: {message_of(error)}")
        return EXIT_USAGE
    except _UsageProblem as problem:
        _show_usage(problem)
        return int(problem.exit_code)
    return code if isinstance(code, int) else 0


def _broken_stream(error: OSError) -> str:
    """Return which standard stream an error without a file name is of: a closed one cannot be read or written."""
    is_input = error.errno == errno.EBADF and fcntl(0, F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    is_output = error.errno == errno.EBADF and fcntl(1, F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    return "standard input" if is_input and not is_output else "standard output"


def _show_usage(problem: Any) -> None:
    """Say what is wrong with the arguments; names among them may be of files, and are escaped like any."""
    if type(problem).__name__ == "NoArgsIsHelpError":
        problem.show()
        return
    context = getattr(problem, "ctx", None)
    if context is not None:
        for line in context.get_usage().splitlines():
            err.say(line)
        err.say(f"Try '{context.command_path} --help' for help.")
    complain(problem.format_message())


def _open_closed_streams() -> None:
    """Occupy closed standard streams, so that no file or socket gets their numbers and what is written to them. Input
    and output fail when they are used; errors go nowhere."""
    for number, name, flags in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_RDWR)):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _discard(number: int) -> None:
    """Let what is still buffered for a stream that cannot be written go nowhere."""
    with suppress(OSError):
        opened = os.open(os.devnull, os.O_WRONLY)
        os.dup2(opened, number)
        os.close(opened)


def _heed_signals() -> None:
    """Have signals end the command by an exception wherever it is, also in a read or write that waits; what is in the
    making is cleared away on its way up. A signal that the parent ignores, as nohup does, stays ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(EXIT_SIGNAL + number)
