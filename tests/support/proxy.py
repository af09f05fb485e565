"""A TCP proxy between two nodes that can damage or hold what passes."""

import asyncio
from collections.abc import Callable


class Proxy:
    """Forwards one address to another; `damage` may change every piece that goes towards the target."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.damage: Callable[[bytes], bytes] = lambda data: data
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        for pump in (self._pump(reader, target_writer, damaging=True), self._pump(target_reader, writer)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, damaging: bool = False
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(self.damage(data) if damaging else data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
