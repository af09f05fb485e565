"""Agreeing on the ring: keeps the state that stands on this node, and gets the next one decided.

The decisions are `ring.agreement`'s; this brings them to the other nodes and to the disk. What a voter promised or
accepted is durable before it answers. A decided state is learned from whoever knows it, and never forgotten.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from dynafs.errors import DynafsError, RequestInvalid, RingBehind, RingChanged, RingUndecided
from dynafs.observe.events import get_logger
from dynafs.ports import Answer, Clock, Store
from dynafs.ring.agreement import NO_BALLOT, Acceptor, Ballot, Proposal, next_ballot
from dynafs.ring.history import Past, extended
from dynafs.ring.transition import RingState
from dynafs.storage.stored import decode_stored
from dynafs.wire.messages import Stored
from dynafs.wire.ring import decode_ring_state, encode_ring_state
from dynafs.wire.ring_messages import AcceptRing, LearnRing, PrepareRing, ReadRing, RingReply, RingRequest, RingVote

log = get_logger()

STATE_FACT, ACCEPTOR_FACT, HISTORY_FACT = "ring_state", "ring_acceptor", "ring_history"
#: Up to which version a node that lost its disk casts no vote: what it promised there is forgotten.
SILENCE_FACT = "ring_silence"
#: Attempts of one proposal, and the longest pause before another one.
ATTEMPTS_MAX = 8
PAUSE_S_MAX = 0.4
#: Random bytes that tell a proposal from all others of its node.
PROPOSER_SIZE_BYTES = 8

#: Asks a node, this one included.
Ask = Callable[[str, RingRequest, bytes], Awaitable[Answer]]


class RingKeeper:
    """One node's part in agreeing on the ring."""

    def __init__(self, me: str, founded: RingState, store: Store, clock: Clock) -> None:
        """founded: what a cluster begins with; used while nothing later is stored."""
        self._me, self._store, self._clock = me, store, clock
        stored = store.fact(STATE_FACT)
        self.state = founded if stored is None else decode_stored("ring state", decode_ring_state, stored)
        kept = store.fact(ACCEPTOR_FACT)
        self._acceptor = Acceptor(1) if kept is None else decode_stored("vote", _decode_acceptor, kept)
        self._acceptor = self._acceptor.on_learned(self.state.version)
        told = store.fact(HISTORY_FACT)
        #: rings that this node has heard of, the oldest first
        self.history = () if told is None else decode_stored("history of the ring", _decode_history, told)
        silence = store.fact(SILENCE_FACT)
        #: None while nothing is known of a former self
        self._silent_to = None if silence is None else decode_stored("silence", int, silence)
        #: set by the composition root: whether this node may have been another one, that knew and promised more
        self.may_have_forgotten: Callable[[], bool] = lambda: False
        #: set by the composition root: whether it was
        self.has_forgotten: Callable[[], bool] = lambda: False
        #: one change of what is durable at a time
        self._lock = asyncio.Lock()
        #: set by the composition root: asks peers
        self.ask: Ask | None = None
        #: set by the composition root: told of every state that stands from now on
        self.on_learned: Callable[[RingState], None] = lambda _: None

    async def serve(self, request: RingRequest, body: bytes) -> Answer:
        """Answer a peer. Raises DynafsError."""
        match request:
            case PrepareRing():
                return await self._vote(request.version, Ballot(request.round, request.proposer), b"")
            case AcceptRing():
                if decode_ring_state(body).version != request.version:
                    raise RequestInvalid("version", "the state in the body has another one")
                return await self._vote(request.version, Ballot(request.round, request.proposer), body)
            case LearnRing():
                await self.learn(decode_ring_state(body))
                return Answer(Stored())
            case ReadRing():
                is_pending = self.pending is not None
                return Answer(RingReply(self.state.version, is_pending), encode_ring_state(self.state))

    @property
    def is_sure(self) -> bool:
        """Whether this node knows every state that it ever knew."""
        return self._silent_to is not None or not self.may_have_forgotten()

    def check_memory(self) -> None:
        """Raise RingBehind while this node may have known a later state than it does, and has forgotten it."""
        if not self.is_sure:
            raise RingBehind("this node has yet to learn which ring stands", version=self.state.version)

    async def remember(self, nodes: Sequence[str]) -> None:
        """After a disk was lost: learn from so many others what they know that nothing decided is missed. Raises
        RingBehind when too few answer, StoreError."""
        if self.is_sure or not self.has_forgotten():
            return
        told = await self._hear(nodes)
        others = [member.node for member in self.state.ring.members if member.node != self._me]
        if len(told) < min(len(others), len(others) // 2 + 1) or any(one.is_pending for one in told):
            raise RingBehind("too few nodes tell which ring stands", version=self.state.version)
        silent_to = self.state.version + 1
        await self._store.put_fact(SILENCE_FACT, str(silent_to).encode())
        self._silent_to = silent_to
        log.info("ring.remembered", version=self.state.version)

    @property
    def pending(self) -> RingState | None:
        """What this node accepted for the next version, if that may have been decided without being told."""
        value = self._acceptor.value
        return decode_ring_state(value) if value and self._acceptor.version > self.state.version else None

    async def _vote(self, version: int, ballot: Ballot, value: bytes) -> Answer:
        self.check_memory()
        if self._silent_to is not None and version <= self._silent_to:
            raise RingBehind(f"this node lost its disk; it votes again after version {self._silent_to}")
        async with self._lock:
            acceptor = self._acceptor
            if version != acceptor.version:
                # Who asks is behind, and is told what stands; or this node is, and says so.
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
            self.state, self._acceptor = state, self._acceptor.on_learned(state.version)
        log.info("ring.learned", version=state.version, epoch=state.newest.epoch, step=state.step)
        self.on_learned(state)

    async def catch_up(self, nodes: Sequence[str]) -> int:
        """Learn what others know; return how many have told."""
        return len(await self._hear(nodes))

    async def _hear(self, nodes: Sequence[str]) -> list[RingReply]:
        """Learn what others know; return what they have told."""
        told: list[RingReply] = []
        for answer in await self._ask_all(nodes, ReadRing(), b""):
            if isinstance(answer, Answer) and isinstance(answer.message, RingReply):
                await self.learn(decode_ring_state(answer.body))
                told.append(answer.message)
        return told

    async def propose(self, state: RingState) -> None:
        """Have a state decided that follows the one that stands, and learn it.

        Raises RingChanged when another one was decided instead, RingUndecided when no majority answers: it may be
        decided later by whoever proposes next.
        """
        before, seen = self.state, NO_BALLOT
        proposer = f"{self._me} {self._clock.random_bytes(PROPOSER_SIZE_BYTES).hex()}"
        if state.version != before.version + 1:
            raise RingChanged(before.version)
        voters = [member.node for member in before.ring.members]
        for attempt in range(ATTEMPTS_MAX):
            proposal = Proposal(state.version, next_ballot(proposer, seen), voters, encode_ring_state(state))
            if await self._attempt(proposal):
                decided = decode_ring_state(proposal.value)
                await self.learn(decided)
                await self._ask_all([node for node in state.nodes if node != self._me], LearnRing(), proposal.value)
                if proposal.is_own:
                    return
            if self.state.version >= state.version:
                raise RingChanged(self.state.version)
            seen = max(seen, proposal.seen, proposal.ballot)
            await asyncio.sleep(PAUSE_S_MAX * (attempt + 1) / ATTEMPTS_MAX * self._clock.random_bytes(1)[0] / 255)
        raise RingUndecided(state.version, voters)

    async def amend(self, step: Callable[[RingState], RingState]) -> RingState:
        """Have the state decided that `step` makes of the one that stands, whatever others decide meanwhile; return it.

        Raises what `step` raises, and RingUndecided.
        """
        for _ in range(ATTEMPTS_MAX):
            state = step(self.state)
            try:
                await self.propose(state)
            except RingChanged:
                continue
            return state
        raise RingChanged(self.state.version)

    async def _attempt(self, proposal: Proposal) -> bool:
        """Return whether the value of a proposal, perhaps not its own any more, was decided."""
        ballot = proposal.ballot
        prepare = PrepareRing(proposal.version, ballot.round, ballot.proposer)
        for node, acceptor in await self._votes(proposal, prepare, b""):
            proposal.add_promise(node, acceptor)
        if not proposal.is_promised or self.state.version >= proposal.version:
            return False
        accept = AcceptRing(proposal.version, ballot.round, ballot.proposer)
        for node, acceptor in await self._votes(proposal, accept, proposal.value):
            proposal.add_agreement(node, acceptor)
        return proposal.is_decided

    async def _votes(
        self, proposal: Proposal, request: PrepareRing | AcceptRing, body: bytes
    ) -> list[tuple[str, Acceptor]]:
        """Ask all voters; bring those up to date that are behind, and learn from those that are ahead."""
        votes: list[tuple[str, Acceptor]] = []
        for node, answer in zip(proposal.voters, await self._ask_all(proposal.voters, request, body), strict=True):
            if isinstance(answer, BaseException):
                continue
            vote = answer.message
            assert isinstance(vote, RingVote)
            if vote.version > proposal.version:
                await self.learn(decode_ring_state(answer.body))
            elif vote.version < proposal.version:
                # It votes in the next attempt.
                await self._ask_all([node], LearnRing(), encode_ring_state(self.state))
            else:
                promised, accepted = Ballot(*vote.promised), Ballot(*vote.accepted)
                votes.append((node, Acceptor(vote.version, promised, accepted, bytes(answer.body))))
        return votes

    async def _ask_all(self, nodes: Sequence[str], request: RingRequest, body: bytes) -> list[Answer | DynafsError]:
        assert self.ask is not None
        answers = await asyncio.gather(*(self.ask(node, request, body) for node in nodes), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, DynafsError):
                raise answer
        return [answer for answer in answers if isinstance(answer, Answer | DynafsError)]


def _decode_history(data: bytes) -> tuple[Past, ...]:
    return msgspec.msgpack.decode(data, type=tuple[Past, ...])


def _encode_acceptor(acceptor: Acceptor) -> bytes:
    return msgspec.msgpack.encode((acceptor.version, acceptor.promised, acceptor.accepted, acceptor.value))


def _decode_acceptor(data: bytes) -> Acceptor:
    version, promised, accepted, value = msgspec.msgpack.decode(
        data, type=tuple[int, tuple[int, str], tuple[int, str], bytes]
    )
    return Acceptor(version, Ballot(*promised), Ballot(*accepted), value)
