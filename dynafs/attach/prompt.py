"""The node's end of a prompt: runs what is typed, and tells what it came to."""

import ast
import asyncio
import inspect
import os
import socket
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import msgspec

from dynafs.attach.address import SOCKET_NAME, short_path
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import reporting

log = get_logger()

SOURCE_SIZE_BYTES_MAX = 64 << 10
#: What is told of a result, or of what was printed.
OUTPUT_LENGTH_MAX = 200_000
SESSIONS_MAX = 8
FILE_NAME = "<attach>"


class Typed(msgspec.Struct):
    """What somebody typed: one or more whole statements."""

    source: str


class Told(msgspec.Struct):
    """What it printed and came to, or how it failed."""

    output: str


class Prompt:
    """Listens for terminals of the node's own user."""

    def __init__(self, directory: Path, names: Callable[[], Mapping[str, object]]) -> None:
        """directory: of the node's data, locked by it. names: returns what sessions know from the start."""
        self._directory, self._names = directory, names
        self._server: asyncio.Server | None = None
        self.terminals: set[_Terminal] = set()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        path = self._directory / SOCKET_NAME
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        # Born closed to others.
        umask = os.umask(0o177)
        try:
            with short_path(path) as address:
                listening.bind(address)
        except BaseException:
            listening.close()
            raise
        finally:
            os.umask(umask)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Terminal(self.terminals, self._names), sock=listening)

    async def close(self) -> None:
        """Stop listening and end all sessions."""
        if self._server is None:
            return
        self._server.close()
        for terminal in list(self.terminals):
            terminal.abort()
        await self._server.wait_closed()
        (self._directory / SOCKET_NAME).unlink(missing_ok=True)


class _Terminal(asyncio.Protocol):
    """One connection. What runs for it ends with it."""

    def __init__(self, terminals: "set[_Terminal]", names: Callable[[], Mapping[str, object]]) -> None:
        self._terminals, self._session = terminals, Session(names())
        self._typed = bytearray()
        self._transport: asyncio.Transport | None = None
        self._running: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if len(self._terminals) >= SESSIONS_MAX:
            self._tell(f"{SESSIONS_MAX} prompts are open already; close one\n")
            self._transport.close()
            return
        self._terminals.add(self)
        log.info("prompt.opened")

    def data_received(self, data: bytes) -> None:
        """Run what is whole. A terminal waits for one answer before it sends more."""
        self._typed += data
        if len(self._typed) > SOURCE_SIZE_BYTES_MAX or (self._running is not None and not self._running.done()):
            self.abort()
        elif self._typed.endswith(b"\n"):
            line, self._typed = self._typed, bytearray()
            self._running = asyncio.ensure_future(self._answer(line))

    async def _answer(self, line: bytearray) -> None:
        try:
            source = msgspec.json.decode(line, type=Typed).source
        except msgspec.DecodeError:
            self.abort()
            return
        with reporting("prompt"):
            self._tell(await self._session.run(source))
            return
        # A terminal waits for its answer; it must not do so in vain.
        self.abort()

    def _tell(self, output: str) -> None:
        if self._transport is not None:
            # What is printed may hold halves of surrogate pairs, which JSON cannot.
            shown = output[:OUTPUT_LENGTH_MAX].encode(errors="backslashreplace").decode()
            self._transport.write(msgspec.json.encode(Told(shown)) + b"\n")

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End what runs."""
        self._terminals.discard(self)
        self._transport = None
        if self._running is not None:
            self._running.cancel()


class Session:
    """One terminal's names and what they stand for."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._printed: list[str] = []
        self.names: dict[str, object] = {"asyncio": asyncio, "print": self._print, **names}

    def _print(self, *values: object, sep: str = " ", end: str = "\n") -> None:
        self._printed.append(sep.join(map(str, values)) + end)

    async def run(self, source: str) -> str:
        """Return what some statements print and, if the last one is an expression, its value, as `_` from then on."""
        self._printed.clear()
        try:
            value = await self._evaluate(source)
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                # The terminal hung up. Anything else that was cancelled is a failure of what was typed.
                raise
            self._printed.append(_told(error))
        else:
            if value is not None:
                self.names["_"] = value
                self._printed.append(f"{value!r}\n")
        return "".join(self._printed)

    async def _evaluate(self, source: str) -> object:
        body = ast.parse(source, FILE_NAME).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        await self._execute(ast.Module(body, []), "exec")
        return await self._execute(ast.Expression(last.value), "eval") if isinstance(last, ast.Expr) else None

    async def _execute(self, tree: ast.Module | ast.Expression, mode: str) -> object:
        code = compile(tree, FILE_NAME, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value: object = eval(code, self.names)  # noqa: S307  that is what a prompt is for
        return await value if code.co_flags & inspect.CO_COROUTINE else value  # type: ignore[misc]


def _told(error: BaseException) -> str:
    """Return an exception's traceback from what was typed on."""
    told = traceback.TracebackException.from_exception(error)
    own = next((number for number, frame in enumerate(told.stack) if frame.filename == FILE_NAME), len(told.stack))
    del told.stack[:own]
    return "".join(told.format())
