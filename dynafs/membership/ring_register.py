"""The register of the ring: which state stands on this node, and what it voted for the next one.

No network here: `ring_consensus` asks the other nodes. What a voter promised or accepted is durable before it replies.
A decided state is learned from any node that has it, and kept for ever.
"""

import asyncio
from collections.abc import Callable

import msgspec

from dynafs.errors import RequestInvalid, RingBehind
from dynafs.membership.disk_history import DiskHistory
from dynafs.observe.events import get_logger
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Clock, Store
from dynafs.ring.history import Past, extended
from dynafs.ring.paxos import NO_BALLOT, Acceptor, Ballot
from dynafs.ring.transition import RingState
from dynafs.ring.view import RingView
from dynafs.storage.stored import decode_stored
from dynafs.wire.message import Stored
from dynafs.wire.ring import decode_ring_state, encode_ring_state
from dynafs.wire.ring_messages import AcceptRing, LearnRing, PrepareRing, ReadRing, RingReply, RingVote

log = get_logger()

STATE_FACT, ACCEPTOR_FACT, HISTORY_FACT = "ring_state", "ring_acceptor", "ring_history"
#: Up to which version a node that lost its disk casts no vote: what it promised there is lost.
SILENCE_FACT = "ring_silence"

#: Called with the state that stood and the one that stands from now on.
OnLearned = Callable[[RingState, RingState], None]


class RingRegister:
    """The ring state that stands on one node, and the node's votes."""

    def __init__(self, founded: RingState, store: Store, clock: Clock, disk: DiskHistory) -> None:
        """founded: what a cluster begins with; used while nothing later is stored."""
        self._store, self._clock, self._disk = store, clock, disk
        stored = store.fact(STATE_FACT)
        state = founded if stored is None else decode_stored("ring state", decode_ring_state, stored)
        #: who is asked for what by the state that stands
        self.view = RingView(state)
        kept = store.fact(ACCEPTOR_FACT)
        self._acceptor = Acceptor(1) if kept is None else decode_stored("vote", _decode_acceptor, kept)
        self._acceptor = self._acceptor.on_learned(state.version)
        past = store.fact(HISTORY_FACT)
        #: rings that stood here before, the oldest first
        self.history = () if past is None else decode_stored("history of the ring", _decode_history, past)
        silence = store.fact(SILENCE_FACT)
        #: None while nothing is known of a former self
        self._silent_to = None if silence is None else decode_stored("silence", int, silence)
        #: one change of what is durable at a time
        self._lock = asyncio.Lock()
        self._observers: list[OnLearned] = []

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer what peers ask and order about the ring."""
        dispatcher.register(PrepareRing, lambda _, request, _body: self._prepare(request))
        dispatcher.register(AcceptRing, lambda _, request, body: self._accept(request, bytes(body)))
        dispatcher.register(LearnRing, lambda _, _request, body: self._take_in(bytes(body)))
        dispatcher.register(ReadRing, lambda _, _request, _body: self._read())

    def observe(self, on_learned: OnLearned) -> None:
        """Call back with every state that stands from now on, once `view` is that state's."""
        self._observers.append(on_learned)

    @property
    def state(self) -> RingState:
        """The state that stands."""
        return self.view.state

    async def _prepare(self, request: PrepareRing) -> Answer[RingVote]:
        return await self._vote(request.version, Ballot(request.round, request.proposer), b"")

    async def _accept(self, request: AcceptRing, body: bytes) -> Answer[RingVote]:
        if decode_ring_state(body).version != request.version:
            raise RequestInvalid("version", "the state in the body has another one")
        return await self._vote(request.version, Ballot(request.round, request.proposer), body)

    async def _take_in(self, body: bytes) -> Answer[Stored]:
        await self.learn(decode_ring_state(body))
        return Answer(Stored())

    def _read(self) -> Answer[RingReply]:
        is_pending = self.pending is not None
        return Answer(RingReply(self.state.version, is_pending), encode_ring_state(self.state))

    @property
    def is_sure(self) -> bool:
        """Whether this node has every state that it ever had."""
        return self._silent_to is not None or self._disk.is_first

    @property
    def must_remember(self) -> bool:
        """Whether a former self of this node had states, and cast votes, that are lost."""
        return not self.is_sure and self._disk.is_lost

    def check_memory(self) -> None:
        """Raise RingBehind while this node may have lost a later state than it has."""
        if not self.is_sure:
            raise RingBehind("this node has yet to learn which ring stands", version=self.state.version)

    async def fall_silent(self) -> None:
        """Cast no vote for the next version, whose votes may be lost; what is decided later is voted on again."""
        silent_to = self.state.version + 1
        await self._store.put_fact(SILENCE_FACT, str(silent_to).encode())
        self._silent_to = silent_to
        log.info("ring.remembered", version=self.state.version)

    @property
    def pending(self) -> RingState | None:
        """What this node accepted for the next version, if that may have been decided without being told."""
        value = self._acceptor.value
        return decode_ring_state(value) if value and self._acceptor.version > self.state.version else None

    async def _vote(self, version: int, ballot: Ballot, value: bytes) -> Answer[RingVote]:
        self.check_memory()
        if self._silent_to is not None and version <= self._silent_to:
            raise RingBehind(f"this node lost its disk; it votes again after version {self._silent_to}")
        async with self._lock:
            acceptor = self._acceptor
            if version != acceptor.version:
                # The proposer is behind, and gets the state that stands; or this node is, and replies so.
                known = encode_ring_state(self.state) if version < acceptor.version else b""
                return Answer(RingVote(acceptor.version, NO_BALLOT, NO_BALLOT), known)
            after = acceptor.on_accept(ballot, value) if value else acceptor.on_prepare(ballot)
            if after != acceptor:
                await self._store.put_fact(ACCEPTOR_FACT, _encode_acceptor(after))
                self._acceptor = after
        return Answer(RingVote(after.version, after.promised, after.accepted), after.value)

    async def learn(self, state: RingState) -> None:
        """Take a decided state for what stands, unless a later one is known."""
        async with self._lock:
            if state.version <= self.state.version:
                return
            history = extended(self.history, self.state, state, self._clock.wall_ms())
            if history != self.history:
                await self._store.put_fact(HISTORY_FACT, msgspec.msgpack.encode(history))
                self.history = history
            await self._store.put_fact(STATE_FACT, encode_ring_state(state))
            before = self.state
            self.view, self._acceptor = RingView(state), self._acceptor.on_learned(state.version)
        log.info("ring.learned", version=state.version, epoch=state.newest.epoch, step=state.step)
        for on_learned in self._observers:
            on_learned(before, state)


def _decode_history(data: bytes) -> tuple[Past, ...]:
    return msgspec.msgpack.decode(data, type=tuple[Past, ...])


def _encode_acceptor(acceptor: Acceptor) -> bytes:
    return msgspec.msgpack.encode((acceptor.version, acceptor.promised, acceptor.accepted, acceptor.value))


def _decode_acceptor(data: bytes) -> Acceptor:
    version, promised, accepted, value = msgspec.msgpack.decode(
        data, type=tuple[int, tuple[int, str], tuple[int, str], bytes]
    )
    return Acceptor(version, Ballot(*promised), Ballot(*accepted), value)
