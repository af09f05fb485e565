"""Messages by which nodes agree on the ring, and move from one to the next."""

from typing import ClassVar

import msgspec

from dynafs.wire.message import Message, Question, Stored


class RingVote(Message, frozen=True):
    """A voter after it was asked. Ballots are (round, proposer).

    version: of which it speaks. Body: what it accepted last; the state it knows when that is later than what was asked.
    """

    version: int
    promised: tuple[int, str]
    accepted: tuple[int, str]


class PrepareRing(Question[RingVote], frozen=True):
    """Promise to accept nothing below this ballot (round, proposer) for this version of the ring."""

    version: int
    round: int
    proposer: str


class AcceptRing(Question[RingVote], frozen=True):
    """Accept the ring state in the body for its version, unless you promised a greater ballot."""

    version: int
    round: int
    proposer: str


class LearnRing(Question[Stored], frozen=True):
    """The ring state in the body was decided."""


class RingReply(Message, frozen=True):
    """Body: the state. is_pending: the next one was accepted here, and may have been decided."""

    version: int
    is_pending: bool = False


class ReadRing(Question[RingReply], frozen=True):
    """Which ring state do you know?"""


class Pulled(Message, frozen=True):
    """Body: a bit for each partition."""


class ReadPulled(Question[Pulled], frozen=True):
    """Which partitions of the ring of this epoch are at your place, as `needed` of the present owners hold them?"""

    epoch: int
    needed: int


class NodeStatus(Message, frozen=True):
    """version, epoch: of the ring state that is known. stored_bytes: of chunks and what lies around them.

    is_whole: whether it answers for all it owns, False while it refills a lost disk. started_ms: when it started.
    http: HOST:PORT where it serves clients.
    """

    version: int
    epoch: int
    stored_bytes: int
    wall_ms: int
    unreached: tuple[str, ...] = ()
    is_draining: bool = False
    is_whole: bool = True
    started_ms: int = 0
    http: str = ""


class AskStatus(Question[NodeStatus], frozen=True):
    """How are you, and which of these nodes do you not reach? Answered with NodeStatus."""

    nodes: tuple[str, ...] = ()


class Introduction(Message, frozen=True):
    """n, r, w, partitions, ring_digest: what the cluster was founded with. addresses: {node: HOST:PORT} of its members.
    Body: the ring state that the node knows."""

    n: int
    r: int
    w: int
    partitions: int
    ring_digest: bytes
    gossip_port: int
    addresses: dict[str, str] = msgspec.field(default_factory=dict)


class AskIntroduction(Question[Introduction], frozen=True):
    """Who are you, and of which cluster? Answered with Introduction."""

    since: ClassVar[int] = 2


#: What nodes ask each other to agree on the ring.
RingRequest = PrepareRing | AcceptRing | LearnRing | ReadRing
