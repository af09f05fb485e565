"""The calling end: numbered requests out, answers matched to their futures."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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
from dynafs.peers.sweeper import Sweeper
from dynafs.ports import Answer, Body
from dynafs.wire.error_reply import decode_error
from dynafs.wire.frames import Frame, FrameKind, FrameTooLarge
from dynafs.wire.handshake import CallerHandshake, HandshakeMessage
from dynafs.wire.message import Message, Question
from dynafs.wire.messages import encode_message
from dynafs.wire.replies import decode_reply_to, reply_type


class _Waiting(NamedTuple):
    future: "asyncio.Future[Answer[Any]]"
    deadline_s: float
    timeout_s: float
    expected: type[Message]


class CallerConnection(FramedConnection):
    """One connection to one peer, opened by us. Calls may be made from the start: they wait for the handshake."""

    def __init__(
        self,
        node: str,
        handshake: CallerHandshake,
        timeouts: TimeoutSettings,
        calls_max: int,
        sweeper: Sweeper,
        on_ended: Callable[[str], None],
        idle_s: float = math.inf,
    ) -> None:
        """on_ended: called once, with the reason. idle_s: how long it may be without a call before it closes."""
        super().__init__()
        self.node = node
        self._handshake, self._timeouts, self._calls_max = handshake, timeouts, calls_max
        self._sweeper, self._on_ended, self._idle_s = sweeper, on_ended, idle_s
        #: {request id: the call}, in the order of sending
        self._waiting: dict[int, _Waiting] = {}
        #: {request id: (message, head, body)} of those that are sent after the handshake
        self._held: dict[int, tuple[Question[Any], bytes, Body]] = {}
        self._next_id = 0
        #: loop time from which `sweep` may have something to do
        self.due_s = math.inf
        self._problem = ""
        self._is_pinged = self._is_over = False
        #: loop time at which a call was last under way
        self._used_s = self._loop.time()
        #: resolves once the handshake is done
        self.ready: asyncio.Future[None] = self._loop.create_future()
        sweeper.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the conversation."""
        super().connection_made(transport)
        self.send_handshake(self._handshake.first())

    def on_handshake(self, message: HandshakeMessage) -> None:
        """Answer the listener's part of the handshake."""
        self.send_handshake(self._handshake.on_message(message))
        if self._handshake.done:
            self.become_proved()
            self.due_s = min(self.due_s, self.heard_at + self._timeouts.ping_interval_s)
            self._send_held()
            if not self.ready.done():
                self.ready.set_result(None)

    @property
    def call_count(self) -> int:
        """Calls under way."""
        return len(self._waiting)

    @property
    def is_usable(self) -> bool:
        """Whether a call can be made: the connection stands, or is being opened."""
        return not self._is_over and (self._transport is None or not self._transport.is_closing())

    def call(self, message: Question[Any], body: Body, timeout_s: float) -> "asyncio.Future[Answer[Any]]":
        """Send a request; the future fails with PeerError, and cancelling it frees the call's place."""
        future: asyncio.Future[Answer[Any]] = self._loop.create_future()
        if not self.is_usable:
            future.set_exception(PeerUnreachable(self.node, self._problem or "the connection is closed"))
            return future
        if len(self._waiting) >= self._calls_max:
            future.set_exception(PeerOverloaded(f"{self._calls_max} calls to {self.node} are under way", self.node))
            return future
        head = encode_message(message)
        self._used_s = self._loop.time()
        deadline_s = self._used_s + timeout_s
        self._next_id = request_id = (self._next_id + 1) & 0xFFFFFFFF
        self._waiting[request_id] = _Waiting(future, deadline_s, timeout_s, reply_type(message))
        self.due_s = min(self.due_s, deadline_s)
        if self.is_proved:
            self._send_request(request_id, message, head, body)
        else:
            self._held[request_id] = message, head, body
        future.add_done_callback(partial(self._on_done, request_id))
        return future

    def _send_request(self, request_id: int, message: Question[Any], head: bytes, body: Body) -> None:
        """Send the request of a call, or fail the call."""
        if message.since > self._handshake.wire_version:
            self._fail(request_id, PeerOutdated(self.node, type(message).__name__))
            return
        try:
            self.send(FrameKind.REQUEST, request_id, head, body)
        except FrameTooLarge as error:
            self._fail(request_id, RequestTooLarge(self.node, f"{type(message).__name__}: {error.message}"))

    def _send_held(self) -> None:
        held, self._held = self._held, {}
        for request_id, request in held.items():
            self._send_request(request_id, *request)

    def _on_done(self, request_id: int, future: "asyncio.Future[Answer[Any]]") -> None:
        if future.cancelled() and self._waiting.pop(request_id, None) is not None:
            self._recall(request_id)

    def _recall(self, request_id: int) -> None:
        """Have the peer drop a request, unless it was not sent yet."""
        if self._held.pop(request_id, None) is None:
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

    def sweep(self, now_s: float) -> None:
        """Fail calls past their deadline; ask for a sign of life; give up on silence; close when idle for long."""
        for request_id in [i for i, waiting in self._waiting.items() if waiting.deadline_s <= now_s]:
            self._fail(request_id, PeerTimeout(self.node, self._waiting[request_id].timeout_s))
            self._recall(request_id)
        self.due_s = min((waiting.deadline_s for waiting in self._waiting.values()), default=math.inf)
        if self.is_proved and self.is_open:
            self._check_life(now_s)

    def _check_life(self, now_s: float) -> None:
        timeouts, silence_s = self._timeouts, now_s - self.heard_at
        if self._waiting:
            self._used_s = now_s
        if silence_s > timeouts.ping_interval_s + timeouts.ping_timeout_s:
            self._problem = f"silent for {silence_s:.1f} s"
            self.abort()
        elif now_s - self._used_s >= self._idle_s:
            self._problem = "idle"
            self.close()
        elif silence_s >= timeouts.ping_interval_s:
            if not self._is_pinged:
                self._is_pinged = True
                self.send(FrameKind.PING)
            self.due_s = min(self.due_s, self.heard_at + timeouts.ping_interval_s + timeouts.ping_timeout_s)
        else:
            self.due_s = min(self.due_s, self.heard_at + timeouts.ping_interval_s)

    def on_violation(self, error: DynafsError) -> None:
        """Close; the pool logs why."""
        self._problem = error.message
        self.abort()

    def on_bug(self) -> None:
        """Close, and do not blame the peer."""
        self._problem = "internal error"
        self.abort()

    def give_up(self, problem: str) -> None:
        """End a connection that is not open yet, or must not stay so."""
        self.ready.cancel()
        self._end(problem)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everything under way."""
        self._end(str(exc) if exc else "the peer closed the connection")

    def _end(self, problem: str) -> None:
        if self._is_over:
            return
        self._is_over, self._problem = True, self._problem or problem
        self._sweeper.discard(self)
        for request_id in list(self._waiting):
            is_sent = request_id not in self._held
            self._fail(request_id, PeerUnreachable(self.node, self._problem, is_sent=is_sent))
        if not self.ready.done():
            self.ready.set_exception(PeerUnreachable(self.node, self._problem))
            # It counts as seen: there may be only the calls to see it.
            self.ready.exception()
        self._on_ended(self._problem)
