"""A TCP proxy that holds everything back for a while, in both directions."""

import asyncio
from contextlib import suppress


class DelayProxy:
    """Forwards connections to a port on loopback. `delay_s` may change at any time."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.delay_s = 0.0

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        # When the check is over connections are cancelled; asyncio's own callback would print a traceback for each.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._forward(reader, other_writer), self._forward(other_reader, writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due_s, data = await held.get()
                await asyncio.sleep(max(due_s - loop.time(), 0.0))
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            writer.close()

        delivering = asyncio.create_task(deliver())
        with suppress(OSError):
            while data := await reader.read(1 << 20):
                held.put_nowait((loop.time() + self.delay_s, data))
        held.put_nowait((loop.time() + self.delay_s, b""))
        with suppress(OSError):
            await delivering
