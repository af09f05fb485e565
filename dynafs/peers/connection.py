"""What both ends of a connection share: frames in, frames out, backpressure, signs of life."""

import asyncio
from typing import cast

from dynafs.errors import DynafsError, RemoteProtocolError
from dynafs.observe.events import get_logger
from dynafs.ports import Body
from dynafs.wire.frames import Frame, FrameDecoder, FrameKind, encode_frame
from dynafs.wire.handshake import HandshakeMessage, decode_handshake, encode_handshake

log = get_logger()

#: Up to so much is sent in one piece; copying it is cheaper than further buffers.
JOINED_SIZE_BYTES = 64 << 10
#: Unsent bytes above which `pause_writing` is called.
WRITE_BUFFER_SIZE_BYTES = 4 << 20


class FramedConnection(asyncio.BufferedProtocol):
    """A transport cut into frames. Subclasses take frames in `on_handshake` until proved, then in `on_frame`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self.address = "?"
        #: loop time of the last received byte
        self.heard_at = self._loop.time()
        self.is_proved = False
        #: frames of this round of the event loop; they go out together at its end, in one system call
        self._corked: list[Body] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_SIZE_BYTES)
        peer = transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else "?"

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Lend memory for received bytes."""
        return self._decoder.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Handle the frames these bytes complete. Bytes that are no frames close the connection; so does a bug, with a
        log event and its traceback."""
        self.heard_at = self._loop.time()
        try:
            for frame in self._decoder.buffer_updated(nbytes):
                if self.is_proved:
                    self.on_frame(frame)
                else:
                    self._handshake_frame(frame)
        except RemoteProtocolError as error:
            self.on_violation(error)
        except Exception as error:
            log.exception("peer.connection_failed", address=self.address, error=repr(error))
            self.on_bug()

    def _handshake_frame(self, frame: Frame) -> None:
        if frame.kind is not FrameKind.HELLO:
            raise RemoteProtocolError(f"a {frame.kind.name} frame before the handshake")
        self.on_handshake(decode_handshake(frame.head))

    def on_handshake(self, message: HandshakeMessage) -> None:
        """Take one message of the handshake."""
        raise NotImplementedError

    def on_frame(self, frame: Frame) -> None:
        """Take one frame of a proved peer."""
        raise NotImplementedError

    def on_violation(self, error: DynafsError) -> None:
        """The other side broke the protocol."""
        raise NotImplementedError

    def on_bug(self) -> None:
        """Handling a frame failed in a way that is logged already: close."""
        self.abort()

    def become_proved(self) -> None:
        """Accept requests and full-sized frames from now on."""
        self.is_proved = True
        self._decoder.allow_full_frames()

    def send(self, kind: FrameKind, request_id: int = 0, head: bytes = b"", body: Body = b"") -> None:
        """Queue a frame for sending; nothing happens on a closed connection.

        Raises FrameTooLarge, with nothing sent and the connection as it was.
        """
        if self._transport is None or self._transport.is_closing():
            return
        header = encode_frame(kind, request_id, head, len(body))
        if not self._corked:
            self._loop.call_soon(self._uncork)
        self._corked.append(header)
        if body:
            self._corked.append(body)

    def _uncork(self) -> None:
        """Write what was corked."""
        corked, self._corked = self._corked, []
        if not corked or self._transport is None or self._transport.is_closing():
            return
        if len(corked) == 1:
            self._transport.write(corked[0])
        elif sum(map(len, corked)) <= JOINED_SIZE_BYTES:
            self._transport.write(b"".join(corked))
        else:
            self._transport.writelines(corked)

    def send_handshake(self, messages: list[HandshakeMessage]) -> None:
        """Send messages of the handshake."""
        for message in messages:
            self.send(FrameKind.HELLO, head=encode_handshake(message))

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Close after sending what is queued."""
        self._uncork()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, without what is queued."""
        self._corked.clear()
        if self._transport is not None:
            self._transport.abort()
