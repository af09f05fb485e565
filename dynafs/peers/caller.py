"""The calling end: numbered requests out, answers matched to their futures."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from dynafs.config import TimeoutSettings
from dynafs.errors import (
    DynafsError,
    PeerError,
    PeerOutdated,
    PeerOverloaded,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
    RemoteProtocolError,
    RequestTooLarge,
)
from dynafs.peers.connection import FramedConnection
from dynafs.ports import Answer, Body
from dynafs.wire.error_reply import decode_error
from dynafs.wire.frames import Frame, FrameKind, FrameTooLarge
from dynafs.wire.handshake import CallerHandshake, HandshakeMessage
from dynafs.wire.message import Message
from dynafs.wire.messages import encode_message
from dynafs.wire.replies import decode_reply_to, reply_type

#: How often deadlines and signs of life are looked at; deadlines are this much later at worst.
SWEEP_INTERVAL_S = 0.1


class _Waiting(NamedTuple):
    future: "asyncio.Future[Answer]"
    deadline: float
    timeout_s: float
    expected: type[Message]


class CallerConnection(FramedConnection):
    """One connection to one peer, opened by us."""

    def __init__(
        self,
        node: str,
        handshake: CallerHandshake,
        timeouts: TimeoutSettings,
        calls_max: int,
        on_closed: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.node = node
        self._handshake, self._timeouts, self._calls_max, self._on_closed = (
            handshake,
            timeouts,
            calls_max,
            on_closed,
        )
        #: {request id: who waits}
        self._waiting: dict[int, _Waiting] = {}
        self._next_id = 0
        self._problem = ""
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_pinged = False
        #: resolves once requests may be sent
        self.ready: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the conversation."""
        super().connection_made(transport)
        self.send_handshake(self._handshake.first())

    def on_handshake(self, message: HandshakeMessage) -> None:
        """Answer the listener's part of the handshake."""
        self.send_handshake(self._handshake.on_message(message))
        if self._handshake.done:
            self.become_proved()
            self._sweeper = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
            if not self.ready.done():
                self.ready.set_result(None)

    @property
    def call_count(self) -> int:
        """Calls under way."""
        return len(self._waiting)

    def call(self, message: Message, body: Body, timeout_s: float) -> "asyncio.Future[Answer]":
        """Send a request; the future fails with PeerError, and cancelling it frees the call's place."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        if not self.is_open or not self.is_proved:
            future.set_exception(PeerUnreachable(self.node, self._problem or "the connection is closed"))
        elif message.since > self._handshake.wire_version:
            future.set_exception(PeerOutdated(self.node, type(message).__name__))
        elif len(self._waiting) >= self._calls_max:
            future.set_exception(PeerOverloaded(f"{self._calls_max} calls to {self.node} are under way", self.node))
        else:
            self._next_id = request_id = (self._next_id + 1) & 0xFFFFFFFF
            try:
                self.send(FrameKind.REQUEST, request_id, encode_message(message), body)
            except FrameTooLarge as error:
                future.set_exception(RequestTooLarge(self.node, f"{type(message).__name__}: {error.message}"))
                return future
            expected = reply_type(message)
            self._waiting[request_id] = _Waiting(future, self._loop.time() + timeout_s, timeout_s, expected)
            future.add_done_callback(partial(self._on_done, request_id))
        return future

    def _on_done(self, request_id: int, future: "asyncio.Future[Answer]") -> None:
        if future.cancelled() and self._waiting.pop(request_id, None) is not None:
            self.send(FrameKind.CANCEL, request_id)

    def on_frame(self, frame: Frame) -> None:
        """Resolve the call a reply or an error belongs to; late ones are dropped. A reply that makes no sense fails its
        own call only: the frames around it are whole."""
        self._is_pinged = False
        if frame.kind not in (FrameKind.REPLY, FrameKind.ERROR) or frame.request_id not in self._waiting:
            return
        try:
            if frame.kind is FrameKind.ERROR:
                error = decode_error(frame.head)
                self._fail(frame.request_id, PeerRefused(self.node, error.code, error.message, error.evidence))
                return
            reply = decode_reply_to(frame.head, self._waiting[frame.request_id].expected)
        except RemoteProtocolError as problem:
            self._fail(frame.request_id, PeerRefused(self.node, problem.code, problem.message, {}))
            return
        waiting = self._waiting.pop(frame.request_id)
        if not waiting.future.done():
            waiting.future.set_result(Answer(reply, frame.body))

    def _fail(self, request_id: int, error: PeerError) -> None:
        if (waiting := self._waiting.pop(request_id, None)) is not None and not waiting.future.done():
            waiting.future.set_exception(error)

    def _sweep(self) -> None:
        """Fail calls past their deadline; ask for a sign of life; give up on silence."""
        if not self.is_open:
            return
        # Before anything that may fail: calls on a connection that nothing sweeps would wait for ever.
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        now = self._loop.time()
        for request_id in [i for i, waiting in self._waiting.items() if waiting.deadline <= now]:
            timeout_s = self._waiting[request_id].timeout_s
            self._fail(request_id, PeerTimeout(self.node, timeout_s))
            self.send(FrameKind.CANCEL, request_id)
        silence_s = now - self.heard_at
        if silence_s > self._timeouts.ping_interval_s + self._timeouts.ping_timeout_s:
            self._problem = f"silent for {silence_s:.1f} s"
            self.abort()
            return
        if silence_s > self._timeouts.ping_interval_s and not self._is_pinged:
            self._is_pinged = True
            self.send(FrameKind.PING)

    def on_violation(self, error: DynafsError) -> None:
        """Close; the pool logs why."""
        self._problem = error.message
        self.abort()

    def on_bug(self) -> None:
        """Close, and do not blame the peer."""
        self._problem = "internal error"
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everything under way."""
        self._problem = self._problem or (str(exc) if exc else "the peer closed the connection")
        if self._sweeper is not None:
            self._sweeper.cancel()
        for request_id in list(self._waiting):
            self._fail(request_id, PeerUnreachable(self.node, self._problem, is_sent=True))
        if not self.ready.done():
            self.ready.set_exception(PeerUnreachable(self.node, self._problem))
        self._on_closed(self._problem)
