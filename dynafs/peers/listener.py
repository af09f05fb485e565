"""The listening end: proves callers, serves their requests, turns the rest away."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from dynafs.config import TimeoutSettings, split_address
from dynafs.errors import DynafsError, LocalProtocolError, RemoteProtocolError, ReplyTooLarge
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.observe.pace import EventPace
from dynafs.peers.connection import FramedConnection
from dynafs.peers.sweeper import Sweeper
from dynafs.ports import Answer, Clock, RequestHandler, Storing
from dynafs.wire.error_reply import encode_error
from dynafs.wire.frames import Frame, FrameKind, FrameTooLarge
from dynafs.wire.handshake import NONCE_SIZE_BYTES, HandshakeMessage, Hello, ListenerHandshake, Refusal
from dynafs.wire.message import Stored
from dynafs.wire.messages import decode_request, encode_message

log = get_logger()

F = TypeVar("F", "asyncio.Future[Answer[Any]]", "asyncio.Future[None]")

#: Callers that ping every interval are given this many intervals of silence.
SILENCE_FACTOR = 5
_STORED_HEAD = encode_message(Stored())


class ReceiveGate:
    """Bytes received and not yet dealt with, over all connections. Above the limit, who brings more stops reading."""

    def __init__(self, size_bytes_max: int) -> None:
        self._size_bytes_max = size_bytes_max
        self.size_bytes = 0
        self._stopped: dict[ListenerConnection, None] = {}
        metrics.bytes_in_flight.labels("receive").set_function(lambda: self.size_bytes)

    def add(self, connection: "ListenerConnection", size_bytes: int) -> None:
        """Count received bytes; stop the connection when it is too much."""
        self.size_bytes += size_bytes
        if self.size_bytes > self._size_bytes_max and connection not in self._stopped:
            self._stopped[connection] = None
            connection.set_reading(on=False)

    def remove(self, size_bytes: int) -> None:
        """Bytes were dealt with; let the stopped read on when there is room."""
        self.size_bytes -= size_bytes
        if self._stopped and self.size_bytes <= self._size_bytes_max:
            stopped, self._stopped = self._stopped, {}
            for connection in stopped:
                connection.set_reading(on=True)


class ListenerConnection(FramedConnection):
    """One accepted connection."""

    def __init__(self, listener: "PeerListener", handshake: ListenerHandshake) -> None:
        super().__init__()
        self._listener, self._handshake = listener, handshake
        #: {request id: the answer in the making}
        self._serving: dict[int, asyncio.Future[Answer[Any]] | asyncio.Future[None]] = {}
        #: loop time from which `sweep` has something to do: the caller has until then to prove itself
        self.due_s = self._loop.time() + listener.timeouts.connect_s
        self.peer = "?"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection where it is swept, and closed with the listener."""
        super().connection_made(transport)
        self._listener.connections.add(self)
        self._listener.sweeper.add(self)

    def sweep(self, now_s: float) -> None:
        """Turn away a caller without a proof; give up on silence."""
        timeouts = self._listener.timeouts
        silent_from_s = self.heard_at + SILENCE_FACTOR * timeouts.ping_interval_s + timeouts.ping_timeout_s
        if not self.is_proved:
            self.due_s = math.inf
            self._refuse("no proof in time")
        elif silent_from_s <= now_s:
            self.abort()
        else:
            self.due_s = silent_from_s

    def on_handshake(self, message: HandshakeMessage) -> None:
        """Answer the caller's part of the handshake."""
        self.send_handshake(self._handshake.on_message(message))
        if self._handshake.done and self._handshake.theirs is not None:
            self.peer = self._handshake.theirs.node
            self.become_proved()
            self._listener.on_peer_seen(self.peer, split_address(self.address)[0])

    def on_frame(self, frame: Frame) -> None:
        """Serve a request, drop a cancelled one, answer a ping."""
        if frame.kind is FrameKind.REQUEST:
            self._serve(frame)
        elif frame.kind is FrameKind.CANCEL:
            if (future := self._serving.get(frame.request_id)) is not None:
                future.cancel()
        elif frame.kind is FrameKind.PING:
            self.send(FrameKind.PONG)

    def _serve(self, frame: Frame) -> None:
        try:
            request = decode_request(frame.head)
            self._handshake.check_agreed(request)
            answer = self._listener.handler(self.peer, request, frame.body)
            if isinstance(answer, Storing):
                self._follow(frame, answer.future, self._on_stored)
            elif not isinstance(answer, Answer):
                self._follow(frame, asyncio.ensure_future(answer), self._on_served)
        except Exception as error:  # noqa: BLE001  one request must not cost the connection its other requests
            self._send_error(frame.request_id, error)
            return
        if isinstance(answer, Answer):
            self._send_answer(frame.request_id, answer)

    def _follow(self, frame: Frame, future: F, on_done: Callable[[int, int, F], None]) -> None:
        """Have the reply sent when there is one; until then the request can be cancelled, and its body counts."""
        size_bytes = len(frame.body)
        self._listener.gate.add(self, size_bytes)
        self._serving[frame.request_id] = future
        future.add_done_callback(partial(on_done, frame.request_id, size_bytes))

    def _on_served(self, request_id: int, size_bytes: int, future: "asyncio.Future[Answer[Any]]") -> None:
        if self._has_succeeded(request_id, size_bytes, future):
            self._send_answer(request_id, future.result())

    def _on_stored(self, request_id: int, size_bytes: int, future: "asyncio.Future[None]") -> None:
        if self._has_succeeded(request_id, size_bytes, future):
            self.send(FrameKind.REPLY, request_id, _STORED_HEAD)

    def _has_succeeded(self, request_id: int, size_bytes: int, future: "asyncio.Future[Any]") -> bool:
        """Return whether a request that has ended wants its reply; an error is sent here."""
        self._listener.gate.remove(size_bytes)
        self._serving.pop(request_id, None)
        if future.cancelled():
            return False
        if (error := future.exception()) is not None:
            self._send_error(request_id, error)
        return error is None

    def _send_answer(self, request_id: int, answer: Answer[Any]) -> None:
        """Send an answer, or why it cannot be sent."""
        try:
            self.send(FrameKind.REPLY, request_id, encode_message(answer.message), answer.body)
        except FrameTooLarge as error:
            reply = type(answer.message).__name__
            log.warning("peer.reply_dropped", peer=self.peer, reply=reply, reason=error.message)
            self._send_error(request_id, ReplyTooLarge(f"{reply} cannot be sent: {error.message}"))
        except Exception as error:  # noqa: BLE001  this runs in callbacks: an exception would leave the call open
            self._send_error(request_id, error)

    def _send_error(self, request_id: int, error: BaseException) -> None:
        """Send an error of ours; a bug is logged, and the peer learns no more than that it was one."""
        sent = error if isinstance(error, DynafsError) and not isinstance(error, LocalProtocolError) else None
        if sent is None:
            log.error("peer.request_failed", peer=self.peer, error=repr(error), exc_info=error)
            sent = DynafsError("internal error")
        elif isinstance(sent, RemoteProtocolError):
            self._warn_of_peer(sent)
        self.send(FrameKind.ERROR, request_id, encode_error(sent))

    def set_reading(self, *, on: bool) -> None:
        """Stop or go on receiving."""
        if self._transport is not None and not self._transport.is_closing():
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def on_violation(self, error: DynafsError) -> None:
        """Turn the caller away, or cut a proved peer off; one log event either way."""
        if self.is_proved:
            self._warn_of_peer(error)
            self.abort()
        else:
            self._refuse(error.message)

    def _warn_of_peer(self, error: DynafsError) -> None:
        suppressed = self._listener.misbehaviour_pace.admit(self.peer, self._loop.time())
        if suppressed is not None:
            log.warning(
                "peer.misbehaved", peer=self.peer, address=self.address, reason=error.message, suppressed=suppressed
            )

    def _refuse(self, reason: str) -> None:
        metrics.peers_refused.inc()
        suppressed = self._listener.refusal_pace.admit(self.address.rpartition(":")[0], self._loop.time())
        if suppressed is not None:
            log.warning("peer.refused", address=self.address, reason=reason, suppressed=suppressed)
        self.send_handshake([Refusal(reason)])
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget what was being served."""
        self._listener.connections.discard(self)
        self._listener.sweeper.discard(self)
        for future in list(self._serving.values()):
            future.cancel()


class PeerListener:
    """Accepts peers on one address."""

    def __init__(
        self,
        me: Hello,
        secret: bytes,
        timeouts: TimeoutSettings,
        clock: Clock,
        handler: RequestHandler,
        on_peer_seen: Callable[[str, str], None],
        receive_bytes_max: int,
    ) -> None:
        """on_peer_seen: told of each proved caller and the IP address it called from."""
        self._me, self._secret, self._clock = me, secret, clock
        self.timeouts, self.handler, self.on_peer_seen = timeouts, handler, on_peer_seen
        self.gate = ReceiveGate(receive_bytes_max)
        #: what strangers, and peers that break the protocol, may cause in the log
        self.refusal_pace, self.misbehaviour_pace = EventPace(), EventPace()
        self.connections: set[ListenerConnection] = set()
        self.sweeper = Sweeper()
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> int:
        """Listen on HOST:PORT; return the port, chosen by the system for port 0."""
        host, port = split_address(address)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    def _accept(self) -> ListenerConnection:
        me = self._me
        nonce = self._clock.random_bytes(NONCE_SIZE_BYTES)
        hello = Hello(me.wire_version, me.cluster, me.node, me.lane, me.ring_digest, nonce)
        return ListenerConnection(self, ListenerHandshake(self._secret, hello))

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()
        if self._server is not None:
            await self._server.wait_closed()
