"""The Peers port over the simulated network. Every message is encoded and decoded by the real codec."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from dynafs.config import TimeoutSettings
from dynafs.errors import (
    DynafsError,
    PeerError,
    PeerOverloaded,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
    RemoteProtocolError,
    ReplyTooLarge,
    RequestTooLarge,
)
from dynafs.observe.events import get_logger
from dynafs.ports import Answer, Body, RequestHandler, Storing
from dynafs.sim.loop import Life
from dynafs.sim.network import Network
from dynafs.wire.error_reply import decode_error, encode_error
from dynafs.wire.frames import Frame, FrameDecoder, FrameKind, FrameTooLarge, encode_frame
from dynafs.wire.message import Message, Question, Stored
from dynafs.wire.messages import decode_request, encode_message
from dynafs.wire.replies import decode_reply_to, reply_type

log = get_logger()


class _Call:
    """A question on its way."""

    __slots__ = ("expected", "future", "timer")

    def __init__(
        self, future: "asyncio.Future[Answer[Any]]", timer: asyncio.TimerHandle, expected: type[Message]
    ) -> None:
        self.future, self.timer, self.expected = future, timer, expected


class _Link:
    """What a node knows of one peer. life: of the peer as it was when the link came up, 0 while down."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.life = 0
        self.heard_at_s = 0.0
        self.is_pinged = False
        self.problem = "not connected yet"
        self.calls: dict[int, _Call] = {}
        self.retry: asyncio.TimerHandle | None = None


class SimPeers:
    """Both ends of one life of a node: calls out, requests in."""

    def __init__(
        self, life: Life, network: Network, peers: Sequence[str], timeouts: TimeoutSettings, calls_max: int
    ) -> None:
        self.life, self._network, self._timeouts, self._calls_max = life, network, timeouts, calls_max
        self._loop = asyncio.get_running_loop()
        self._links = {peer: _Link(peer) for peer in peers}
        self._decoder = FrameDecoder()
        self._decoder.allow_full_frames()
        self._next_id = 0
        #: {(peer, its life, request id): {answers in the making}}
        self._serving: dict[tuple[str, int, int], dict[asyncio.Future[Answer[Any]], None]] = {}
        self.handler: RequestHandler | None = None

    def start(self, handler: RequestHandler) -> None:
        """Serve requests with this handler and connect to everybody."""
        self.handler = handler
        self._network.attach(self)
        for link in self._links.values():
            self._connect(link)
        self._loop.call_later(self._timeouts.ping_interval_s / 2, self._look_around)

    # Calls out

    def call(
        self,
        node: str,
        message: Question[Any],
        body: Body = b"",
        *,
        timeout_s: float,
        is_bulk: bool = False,  # noqa: ARG002  all messages share one simulated link
    ) -> "asyncio.Future[Answer[Any]]":
        """Send a request. The future fails with PeerError; cancelling it frees its place."""
        future: asyncio.Future[Answer[Any]] = self._loop.create_future()
        link = self._links.get(node)
        if link is None or not link.life:
            future.set_exception(PeerUnreachable(node, link.problem if link else "no such peer"))
            return future
        if len(link.calls) >= self._calls_max:
            future.set_exception(PeerOverloaded(f"{self._calls_max} calls to {node} are under way", node))
            return future
        self._next_id = request_id = self._next_id + 1
        try:
            self._send(link, FrameKind.REQUEST, request_id, encode_message(message), body)
        except FrameTooLarge as error:
            future.set_exception(RequestTooLarge(node, f"{type(message).__name__}: {error.message}"))
            return future
        timer = self._loop.call_later(timeout_s, self._expire, link, request_id, timeout_s)
        link.calls[request_id] = _Call(future, timer, reply_type(message))
        future.add_done_callback(partial(self._on_done, link, request_id))
        return future

    @property
    def call_count(self) -> int:
        """The most calls under way to one peer."""
        return max((len(link.calls) for link in self._links.values()), default=0)

    @property
    def open_count(self) -> int:
        """Calls under way and requests being served."""
        return sum(len(link.calls) for link in self._links.values()) + len(self._serving)

    def is_up(self, node: str) -> bool:
        """Return whether calls to the peer can be sent."""
        return bool(self._links[node].life)

    def _expire(self, link: _Link, request_id: int, timeout_s: float) -> None:
        self._settle(link, request_id, PeerTimeout(link.peer, timeout_s))
        self._send(link, FrameKind.CANCEL, request_id)

    def _on_done(self, link: _Link, request_id: int, future: "asyncio.Future[Answer[Any]]") -> None:
        if future.cancelled() and (call := link.calls.pop(request_id, None)) is not None:
            call.timer.cancel()
            self._send(link, FrameKind.CANCEL, request_id)

    def _settle(self, link: _Link, request_id: int, outcome: Answer[Any] | PeerError) -> None:
        call = link.calls.pop(request_id, None)
        if call is None:
            return
        call.timer.cancel()
        if call.future.done():
            return
        if isinstance(outcome, PeerError):
            call.future.set_exception(outcome)
        else:
            call.future.set_result(outcome)

    # The link

    def _connect(self, link: _Link) -> None:
        link.retry = None
        if link.life or not self.life.is_alive:
            return
        data = encode_frame(FrameKind.HELLO, 0, b"hello")
        self._network.send(self.life, link.peer, 0, data)
        link.retry = self._loop.call_later(self._timeouts.reconnect_max_s, self._connect, link)

    def _go_up(self, link: _Link, life: int) -> None:
        link.life, link.heard_at_s, link.is_pinged = life, self._loop.time(), False
        if link.retry is not None:
            link.retry.cancel()
            link.retry = None
        log.info("peer.connected", peer=link.peer)

    def _go_down(self, link: _Link, problem: str) -> None:
        link.life, link.problem = 0, problem
        log.warning("peer.disconnected", peer=link.peer, reason=problem)
        for request_id in list(link.calls):
            self._settle(link, request_id, PeerUnreachable(link.peer, problem, is_sent=True))
        link.retry = self._loop.call_later(self._timeouts.reconnect_min_s, self._connect, link)

    def _look_around(self) -> None:
        """Ask silent peers for a sign of life, give up those that stay silent."""
        if not self.life.is_alive:
            return
        timeouts, now_s = self._timeouts, self._loop.time()
        for link in self._links.values():
            silence_s = now_s - link.heard_at_s
            if not link.life:
                continue
            if silence_s > timeouts.ping_interval_s + timeouts.ping_timeout_s:
                self._go_down(link, f"silent for {silence_s:.1f} s")
            elif silence_s > timeouts.ping_interval_s:
                self._send(link, FrameKind.PING)
        self._loop.call_later(timeouts.ping_interval_s / 2, self._look_around)

    def _send(self, link: _Link, kind: FrameKind, request_id: int = 0, head: bytes = b"", body: Body = b"") -> None:
        if link.life:
            self._transmit(link.peer, link.life, kind, request_id, head, body)

    def _transmit(
        self, peer: str, life: int, kind: FrameKind, request_id: int, head: bytes = b"", body: Body = b""
    ) -> None:
        self._network.send(self.life, peer, life, encode_frame(kind, request_id, head, len(body)) + bytes(body))

    # Messages in

    def on_reset(self, peer: str, peer_life: int) -> None:
        """A life of a peer is over."""
        link = self._links[peer]
        # A refusal of an attempt to connect names no life; arriving late, it says nothing of the link that stands.
        if link.life and peer_life == link.life:
            self._go_down(link, "the peer closed the connection")
        for who, answers in list(self._serving.items()):
            if who[:2] == (peer, peer_life):
                for answer in answers:
                    answer.cancel()

    def on_message(self, source: str, source_life: int, data: bytes) -> None:
        """Take one message of a peer."""
        if not self.life.is_alive:
            return
        link = self._links[source]
        if link.life == source_life:
            link.heard_at_s = self._loop.time()
        for frame in self._decoder.feed(data):
            self._on_frame(link, source_life, frame)

    def _on_frame(self, link: _Link, source_life: int, frame: Frame) -> None:
        who = (link.peer, source_life, frame.request_id)
        match frame.kind:
            case FrameKind.HELLO if frame.head == b"hello":
                self._transmit(link.peer, source_life, FrameKind.HELLO, 0, b"welcome")
            case FrameKind.HELLO:
                if not link.life:
                    self._go_up(link, source_life)
            case FrameKind.PING:
                self._transmit(link.peer, source_life, FrameKind.PONG, 0)
            case FrameKind.REPLY:
                self._on_reply(link, frame)
            case FrameKind.ERROR:
                told = decode_error(frame.head)
                self._settle(link, frame.request_id, PeerRefused(link.peer, told.code, told.message, told.evidence))
            case FrameKind.CANCEL:
                for answer in self._serving.get(who, ()):
                    answer.cancel()
            case FrameKind.REQUEST:
                self._serve(who, frame)

    def _on_reply(self, link: _Link, frame: Frame) -> None:
        """Resolve a call; a reply that makes no sense fails it."""
        call = link.calls.get(frame.request_id)
        if call is None:
            return
        try:
            reply = decode_reply_to(frame.head, call.expected)
        except RemoteProtocolError as problem:
            self._settle(link, frame.request_id, PeerRefused(link.peer, problem.code, problem.message, {}))
            return
        self._settle(link, frame.request_id, Answer(reply, frame.body))

    def _serve(self, who: tuple[str, int, int], frame: Frame) -> None:
        assert self.handler is not None
        try:
            answer = self.handler(who[0], decode_request(frame.head), frame.body)
        except DynafsError as error:
            self._reply_error(who, error)
            return
        if isinstance(answer, Answer):
            self._reply(who, answer)
            return
        future = asyncio.ensure_future(_when_stored(answer.future) if isinstance(answer, Storing) else answer)
        self._serving.setdefault(who, {})[future] = None
        future.add_done_callback(partial(self._on_served, who))

    def _on_served(self, who: tuple[str, int, int], future: "asyncio.Future[Answer[Any]]") -> None:
        answers = self._serving[who]
        del answers[future]
        if not answers:
            del self._serving[who]
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._reply(who, future.result())
        elif isinstance(error, DynafsError):
            self._reply_error(who, error)
        else:
            raise error

    def _reply(self, who: tuple[str, int, int], answer: Answer[Any]) -> None:
        peer, life, request_id = who
        try:
            self._transmit(peer, life, FrameKind.REPLY, request_id, encode_message(answer.message), answer.body)
        except FrameTooLarge as error:
            self._reply_error(who, ReplyTooLarge(f"{type(answer.message).__name__} cannot be sent: {error.message}"))

    def _reply_error(self, who: tuple[str, int, int], error: DynafsError) -> None:
        peer, life, request_id = who
        self._transmit(peer, life, FrameKind.ERROR, request_id, encode_error(error))


async def _when_stored(stored: "asyncio.Future[None]") -> Answer[Any]:
    await stored
    return Answer(Stored())
