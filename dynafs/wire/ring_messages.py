"""Messages by which nodes agree on the ring, and move from one ring to the next."""

from typing import ClassVar

import msgspec

from dynafs.wire.message import Message, Question, Stored


class RingVote(Message, frozen=True):
    """A voter's state after a request. Ballots are (round, proposer).

    version: the version it is about. Body: what the voter accepted last; its ring state if that is later than the
    request's version.
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
    """Body: the state. is_pending: this node has accepted the next one, which may have been decided."""

    version: int
    is_pending: bool = False


class ReadRing(Question[RingReply], frozen=True):
    """Return the latest ring state that this node has learned."""


class Pulled(Message, frozen=True):
    """Body: a bit for each partition."""


class ReadPulled(Question[Pulled], frozen=True):
    """Return the partitions of the ring of this epoch that are complete here, pulled from `needed` present owners."""

    epoch: int
    needed: int


class NodeStatus(Message, frozen=True):
    """version, epoch: of the node's ring state. stored_bytes: of chunks with their overhead.

    is_whole: whether it answers for all it owns, False while it refills a lost disk. started_ms: when it started. http:
    HOST:PORT where it serves clients.
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
    """Return the node's status, and which of these nodes it cannot reach. The reply is NodeStatus."""

    nodes: tuple[str, ...] = ()


class Introduction(Message, frozen=True):
    """n, r, w, partitions, ring_digest: the parameters of the cluster at its foundation. addresses: {node: HOST:PORT}
    of its members. Body: the node's ring state."""

    n: int
    r: int
    w: int
    partitions: int
    ring_digest: bytes
    gossip_port: int
    addresses: dict[str, str] = msgspec.field(default_factory=dict)


class AskIntroduction(Question[Introduction], frozen=True):
    """Return the node's name and its cluster. The reply is Introduction."""

    since: ClassVar[int] = 2


#: Requests by which nodes agree on the ring.
RingRequest = PrepareRing | AcceptRing | LearnRing | ReadRing
