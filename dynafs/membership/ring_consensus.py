"""Consensus on the ring: gets the next state decided, and learns states that others have.

The decisions are `ring.paxos`'s (single-decree Paxos for each version); this brings them to the other nodes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from dynafs.errors import DynafsError, RingBehind, RingChanged, RingUndecided
from dynafs.membership.ring_register import RingRegister
from dynafs.ports import Answer, Clock, R
from dynafs.ring.paxos import NO_BALLOT, Acceptor, Ballot, Proposal, next_ballot
from dynafs.ring.transition import RingState
from dynafs.wire.message import Question
from dynafs.wire.ring import decode_ring_state, encode_ring_state
from dynafs.wire.ring_messages import AcceptRing, LearnRing, PrepareRing, ReadRing, RingReply

#: Attempts of one proposal, and the longest pause before another one.
ATTEMPTS_MAX = 8
PAUSE_S_MAX = 0.4
#: Random bytes that distinguish a proposal from all others of its node.
PROPOSER_SIZE_BYTES = 8


class Ask(Protocol):
    """Sends a request to a node, this one included."""

    def __call__(self, node: str, request: Question[R], body: bytes = b"", /) -> Awaitable[Answer[R]]:
        """Return the reply. Raises DynafsError."""
        ...


class RingConsensus:
    """One node's part in deciding on the ring."""

    def __init__(self, me: str, register: RingRegister, ask: Ask, clock: Clock) -> None:
        self._me, self._register, self._ask, self._clock = me, register, ask, clock

    @property
    def state(self) -> RingState:
        """The state that stands on this node."""
        return self._register.state

    async def remember(self, nodes: Sequence[str]) -> None:
        """After a disk was lost: learn from so many others what they have that nothing decided is missed. Raises
        RingBehind when too few answer, StoreError."""
        register = self._register
        if not register.must_remember:
            return
        replies = await self._learn_from(nodes)
        others = [member.node for member in register.state.ring.members if member.node != self._me]
        if len(replies) < min(len(others), len(others) // 2 + 1) or any(one.is_pending for one in replies):
            raise RingBehind("too few nodes reply which ring stands", version=register.state.version)
        await register.fall_silent()

    async def catch_up(self, nodes: Sequence[str]) -> int:
        """Learn what others have; return how many replied."""
        return len(await self._learn_from(nodes))

    async def _learn_from(self, nodes: Sequence[str]) -> list[RingReply]:
        """Learn what others have; return their replies."""
        replies: list[RingReply] = []
        for answer in await self._ask_all(nodes, ReadRing(), b""):
            if isinstance(answer, Answer):
                await self._register.learn(decode_ring_state(answer.body))
                replies.append(answer.message)
        return replies

    async def propose(self, state: RingState) -> None:
        """Have a state decided that follows the one that stands, and learn it.

        Raises RingChanged when another one was decided instead, RingUndecided when no majority answers: it may be
        decided later, by the next proposal of any node.
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
                await self._register.learn(decided)
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
            if isinstance(answer, DynafsError):
                continue
            vote = answer.message
            if vote.version > proposal.version:
                await self._register.learn(decode_ring_state(answer.body))
            elif vote.version < proposal.version:
                # It votes in the next attempt.
                await self._ask_all([node], LearnRing(), encode_ring_state(self.state))
            else:
                promised, accepted = Ballot(*vote.promised), Ballot(*vote.accepted)
                votes.append((node, Acceptor(vote.version, promised, accepted, bytes(answer.body))))
        return votes

    async def _ask_all(self, nodes: Sequence[str], request: Question[R], body: bytes) -> list[Answer[R] | DynafsError]:
        answers = await asyncio.gather(*(self._ask(node, request, body) for node in nodes), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, DynafsError):
                raise answer
        return [answer for answer in answers if isinstance(answer, Answer | DynafsError)]
