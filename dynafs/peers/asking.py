"""One question to whoever listens at an address: for a node that does not know its peers yet."""

import asyncio

import msgspec

from dynafs.config import TimeoutSettings, split_address
from dynafs.errors import PeerTimeout
from dynafs.peers.caller import CallerConnection
from dynafs.ports import Answer, Clock
from dynafs.wire.handshake import NONCE_SIZE_BYTES, CallerHandshake, Hello
from dynafs.wire.message import Message


async def ask_at(
    address: str, me: Hello, secret: bytes, message: Message, timeouts: TimeoutSettings, clock: Clock
) -> tuple[Answer, str]:
    """Return the answer of the node at HOST:PORT, and the IP address that HOST stands for now.

    me: our hello; the nonce is filled in. Raises PeerError, OSError.
    """
    loop = asyncio.get_running_loop()
    host, port = split_address(address)
    hello = msgspec.structs.replace(me, lane="control", nonce=clock.random_bytes(NONCE_SIZE_BYTES))

    def make() -> CallerConnection:
        return CallerConnection(address, CallerHandshake(secret, hello, ""), timeouts, 1, lambda _: None)

    try:
        async with asyncio.timeout(timeouts.connect_s + timeouts.request_s):
            _, connection = await loop.create_connection(make, host, port)
            try:
                await asyncio.shield(connection.ready)
                return await connection.call(message, b"", timeouts.request_s), split_address(connection.address)[0]
            finally:
                connection.ready.cancel()
                connection.abort()
    except TimeoutError:
        raise PeerTimeout(address, timeouts.connect_s + timeouts.request_s) from None
