"""Ring states as bytes: the same on disk and between nodes, small enough to be sent with a refusal.

    0        1          5
    | format | crc32c   | msgpack [version, step, epoch_max, rings, staged changes]

Owners are two bytes each, the place of a node among the members: 200 nodes and 4096 partitions of three copies are
24 KiB.
"""

import array
import math
import sys

import msgspec

from dynafs.errors import RemoteProtocolError, RingError
from dynafs.ring import PARTITION_COUNT_MAX, Member, Ring
from dynafs.ring.change import Change, Kind
from dynafs.ring.transition import RingState, Step
from dynafs.wire.seal import seal, unseal

STATE_FORMAT = 1
STATE_SIZE_BYTES_MAX = 4 << 20
MEMBERS_MAX = 4096
_OWNER_SIZE_BYTES = 2


class _PackedMember(msgspec.Struct, array_like=True):
    node: str
    zone: str
    weight: float
    address: str = ""


class _PackedChange(msgspec.Struct, array_like=True):
    kind: Kind
    node: str
    by: str = ""
    weight: float | None = None
    zone: str | None = None
    address: str = ""


class _PackedRing(msgspec.Struct, array_like=True):
    """owners: places among them, two bytes each, little end first."""

    epoch: int
    n: int
    members: list[_PackedMember]
    owners: bytes


class _PackedState(msgspec.Struct, array_like=True):
    version: int
    step: Step
    epoch_max: int
    rings: list[_PackedRing]
    staged: list[_PackedChange] = []


_decoder = msgspec.msgpack.Decoder(_PackedState)


def encode_ring_state(state: RingState) -> bytes:
    """Return the bytes of a state."""
    rings = [state.ring] if state.next_ring is None else [state.ring, state.next_ring]
    staged = [_PackedChange(one.kind, one.node, one.by, one.weight, one.zone, one.address) for one in state.staged]
    packed = _PackedState(state.version, state.step, state.epoch_max, [_pack(ring) for ring in rings], staged)
    return seal(STATE_FORMAT, msgspec.msgpack.encode(packed))


def decode_ring_state(data: bytes | bytearray | memoryview) -> RingState:
    """Return the state; raise RemoteProtocolError when the bytes are damaged, too many, or no possible state."""
    payload = unseal(data, STATE_FORMAT, "ring state", STATE_SIZE_BYTES_MAX)
    try:
        packed = _decoder.decode(payload)
        rings = [_unpack(ring) for ring in packed.rings]
        next_ring = rings[1] if len(rings) > 1 else None
        staged = tuple(Change(*msgspec.structs.astuple(change)) for change in packed.staged)
        return RingState(packed.version, rings[0], packed.step, next_ring, packed.epoch_max, staged)
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError, RingError) as error:
        raise RemoteProtocolError(f"a ring state cannot be decoded: {error}") from None


def _pack(ring: Ring) -> _PackedRing:
    places = {member.node: place for place, member in enumerate(ring.members)}
    owners = array.array("H", (places[node] for nodes in ring.owners for node in nodes))
    if sys.byteorder == "big":
        owners.byteswap()
    members = [_PackedMember(member.node, member.zone, member.weight, member.address) for member in ring.members]
    return _PackedRing(ring.epoch, ring.n, members, owners.tobytes())


def _unpack(packed: _PackedRing) -> Ring:
    if not 1 <= packed.n <= len(packed.members) <= MEMBERS_MAX:
        raise RingError(f"{packed.n} copies on {len(packed.members)} nodes")
    row_size_bytes = packed.n * _OWNER_SIZE_BYTES
    if len(packed.owners) % row_size_bytes or len(packed.owners) // row_size_bytes > PARTITION_COUNT_MAX:
        raise RingError(f"{len(packed.owners)} bytes of owners")
    owners = array.array("H", packed.owners)
    if sys.byteorder == "big":
        owners.byteswap()
    members = tuple(Member(*msgspec.structs.astuple(member)) for member in packed.members)
    if not all(0 < member.weight < math.inf for member in members):
        raise RingError("a member without a weight above 0")
    names = [members[place].node for place in owners]
    rows = tuple(tuple(names[start : start + packed.n]) for start in range(0, len(names), packed.n))
    return Ring(packed.epoch, packed.n, members, rows)
