"""The JSON that nodes answer with about the ring; see `shapes`."""

from typing import Annotated, Any, TypedDict

from msgspec import Meta

from dynafs.client.shapes import Copies, Count, Moment, Number, Offset

#: Keys that are numbers: copies that are left.
CopiesLeft = Annotated[str, Meta(pattern=r"^[0-9]{1,4}$")]


class NodeStatus(TypedDict):
    """A node, as it describes itself."""

    node: str
    state: str
    zone: str
    weight: Number
    is_draining: bool
    started_unix_ms: Moment
    partitions: Count
    share: Number
    bytes: Count
    epoch: Count
    clock_offset_ms: Offset
    problem: str


class RingStatus(TypedDict):
    """All nodes of the ring. waiting: {node: its address}."""

    seen_by: str
    step: str
    epoch: Count
    next_epoch: Count
    partitions: Count
    n: Copies
    waiting: dict[str, str]
    has_quorum: bool
    problems: list[str]
    nodes: list[NodeStatus]


class PlannedNode(TypedDict):
    """A node before and after the staged changes."""

    node: str
    zone: str
    weight: Number
    before: Count
    after: Count
    incoming: Count
    incoming_bytes: Count


PlannedMove = TypedDict("PlannedMove", {"copies": Count, "from": str, "to": str})


class PlannedLoss(TypedDict):
    """What losing a node or a zone would mean. copies: {copies left: partitions}."""

    kind: str
    name: str
    copies: dict[CopiesLeft, Count]


class RingPlan(TypedDict):
    """What the staged changes would take."""

    epoch: Count
    hash: str
    staged: list[str]
    partitions: Count
    n: Copies
    w: Count
    moves: Count
    moves_min: Count
    moves_bytes: Count
    imbalance: Number
    warnings: list[str]
    nodes: list[PlannedNode]
    transfers: list[PlannedMove]
    losses: list[PlannedLoss]


class TransferRow(TypedDict):
    """How far one node is."""

    node: str
    partitions: Count
    done: Count | None


class Transfers(TypedDict):
    """How far a change of the ring is."""

    step: str
    epoch: Count
    next_epoch: Count
    nodes: list[TransferRow]


class PastRing(TypedDict):
    """A ring that was."""

    epoch: Count
    outcome: str
    changes: list[str]
    began_unix_ms: Moment
    ended_unix_ms: Moment


class RingHistory(TypedDict):
    """All rings that were."""

    rings: list[PastRing]


class Place(TypedDict):
    """A node that owns a file's record or stands in."""

    role: str
    node: str
    zone: str
    address: str
    is_up: bool
    http: str


class Places(TypedDict):
    """Where a file's record belongs."""

    partition: Count
    nodes: list[Place]


class Throttled(TypedDict):
    """Which nodes did not take a limit over, and why."""

    failed: dict[str, str]


class Ring(TypedDict):
    """The ring's members."""

    epoch: Count
    members: list[dict[str, Any]]


class NodeAction(TypedDict):
    """What a node was made to do."""

    node: str
    action: str
