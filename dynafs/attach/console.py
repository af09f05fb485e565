"""The terminal's end of a prompt."""

import ast
import codeop
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from dynafs.attach.address import SOCKET_NAME, short_path
from dynafs.attach.prompt import Told, Typed
from dynafs.errors import NotFound, ServerUnreachable

RECEIVE_SIZE_BYTES = 64 << 10


def socket_path(node: str, data: Path) -> Path:
    """Return where a local node listens. node: its data directory, or its name in the cluster that keeps its settings
    and data in `data`. Raises NotFound."""
    for directory in (data / node, Path(node)):
        if (path := directory / SOCKET_NAME).is_socket():
            return path
    raise NotFound("running node", f"{node}: neither {data / node} nor {node} is the data directory of a running node")


class Console:
    """Reads statements from somebody, has them run, and says what came of them."""

    def __init__(self, path: Path, ask: Callable[[str], str], say: Callable[[str], None]) -> None:
        """ask: returns a line, given what to show before it; raises EOFError at the end."""
        self._path, self._ask, self._say = path, ask, say
        self._socket: socket.socket | None = None
        self._compiler = codeop.CommandCompiler()
        self._compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def run(self) -> None:
        """Go on until the end of what is typed. Raises ServerUnreachable when the node ends first."""
        try:
            while (source := self._statement()) is not None:
                try:
                    self._say(self._answer(source))
                except KeyboardInterrupt:
                    # The node ends what runs when its terminal goes.
                    self._hang_up()
                    self._say("interrupted; names given here are forgotten\n")
        finally:
            self._hang_up()

    def _statement(self) -> str | None:
        """Return a whole statement, None at the end. What can never become one is sent as it is, for its error."""
        lines: list[str] = []
        while True:
            try:
                lines.append(self._ask("... " if lines else ">>> "))
            except KeyboardInterrupt:
                self._say("\n")
                lines.clear()
                continue
            except EOFError:
                return "\n".join(lines) if any(line.strip() for line in lines) else None
            source = "\n".join(lines)
            try:
                if not source.strip():
                    lines.clear()
                elif self._compiler(source, "<attach>", "single") is not None:
                    return source
            except (SyntaxError, ValueError, OverflowError):
                return source

    def _answer(self, source: str) -> str:
        try:
            typed = msgspec.json.encode(Typed(source))
        except UnicodeEncodeError:
            return "what was typed is not valid UTF-8\n"
        try:
            connection = self._connected()
            connection.sendall(typed + b"\n")
            data = bytearray()
            while not data.endswith(b"\n"):
                piece = connection.recv(RECEIVE_SIZE_BYTES)
                if not piece:
                    raise ServerUnreachable("the node has ended, or has too many prompts open", url=str(self._path))
                data += piece
        except OSError as error:
            raise ServerUnreachable(f"{self._path}: {error}", url=str(self._path)) from error
        try:
            return msgspec.json.decode(data, type=Told).output
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServerUnreachable(f"{self._path}: the answer is none: {error}", url=str(self._path)) from error

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            with short_path(self._path) as address:
                self._socket.connect(address)
        return self._socket

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
