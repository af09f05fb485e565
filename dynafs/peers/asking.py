"""One question to whoever listens at an address: for a node that does not know its peers yet."""

import asyncio
from typing import Any

import msgspec

from dynafs.config import TimeoutSettings, split_address
from dynafs.errors import PeerTimeout
from dynafs.peers.caller import CallerConnection
from dynafs.peers.sweeper import Sweeper
from dynafs.ports import Answer, Clock
from dynafs.wire.handshake import NONCE_SIZE_BYTES, CallerHandshake, Hello
from dynafs.wire.message import Question


async def ask_at(
    address: str, me: Hello, secret: bytes, message: Question[Any], timeouts: TimeoutSettings, clock: Clock
) -> tuple[Answer[Any], str]:
    """Return the answer of the node at HOST:PORT, and the IP address that HOST stands for now.

    me: our hello; the nonce is filled in. Raises PeerError, OSError.
    """
    loop = asyncio.get_running_loop()
    host, port = split_address(address)
    hello = msgspec.structs.replace(me, lane="control", nonce=clock.random_bytes(NONCE_SIZE_BYTES))

    connection = CallerConnection(
        address, CallerHandshake(secret, hello, ""), timeouts, 1, Sweeper(), lambda _: None
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeouts.connect_s + timeouts.request_s):
            await loop.create_connection(lambda: connection, host, port)
            await asyncio.shield(connection.ready)
            return await connection.call(message, b"", timeouts.request_s), split_address(connection.address)[0]
    except TimeoutError:
        raise PeerTimeout(address, timeouts.connect_s + timeouts.request_s) from None
    finally:
        connection.give_up("done")
