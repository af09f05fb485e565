"""A TCP proxy in front of a node that damages or delays what passes."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

PIECE_SIZE_BYTES_MAX = 1 << 20
#: A piece, empty at the end of the stream, and the loop's time at which it is delivered.
_Held = asyncio.Queue[tuple[float, bytes]]


class Proxy:
    """Forwards connections to a port on loopback.

    `damage` maps every piece that goes towards the target; `delay_s` holds pieces back, in both directions. Both may
    change at any time.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.damage: Callable[[bytes], bytes] = lambda data: data
        self.delay_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen; return the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        for one, other, is_damaged in ((reader, target_writer, True), (target_reader, writer, False)):
            held = _Held()
            self._run(self._hold(one, held, is_damaged=is_damaged))
            self._run(_deliver(held, other))

    def _run(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hold(self, reader: asyncio.StreamReader, held: _Held, *, is_damaged: bool) -> None:
        """Queue every piece with the time at which it is due."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await reader.read(PIECE_SIZE_BYTES_MAX):
                held.put_nowait((loop.time() + self.delay_s, self.damage(data) if is_damaged else data))
        held.put_nowait((loop.time() + self.delay_s, b""))

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _deliver(held: _Held, writer: asyncio.StreamWriter) -> None:
    """Write every piece when it is due, until the stream ends or the receiver is gone."""
    loop = asyncio.get_running_loop()
    try:
        with suppress(OSError):
            while True:
                due_s, data = await held.get()
                if due_s > loop.time():
                    await asyncio.sleep(due_s - loop.time())
                if not data:
                    return
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
