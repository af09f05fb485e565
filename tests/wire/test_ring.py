"""Ring states on the wire: what was sent is what arrives, small, and nothing else is taken for one."""

import math

import msgspec
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import RemoteProtocolError
from dynafs.ring import Member, place
from dynafs.ring.change import Change
from dynafs.ring.plan import make_plan
from dynafs.ring.transition import RingState
from dynafs.wire.ring import decode_ring_state, encode_ring_state

RING = place(tuple(Member(f"n{i}", f"zone {i % 3}", float(i)) for i in range(1, 6)), 64, 3)
STATES = [
    RingState.first(RING),
    moving := RingState.first(RING).moving_to(make_plan(RING, [Change("join", "n-e", zone="zé")], 2).after),
    moving.advanced(),
    moving.cancelled(),
    moving.staging(Change("weight", "n1", weight=2.5)).staging(Change("replace", "n2", by="m", zone="z")),
    moving.advanced().advanced(),
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: f"{state.version} {state.step}")
def test_states_arrive_as_they_were_sent(state: RingState) -> None:
    """Every step of a transition, equal to the last owner."""
    assert decode_ring_state(encode_ring_state(state)) == state


def test_state_of_a_large_cluster_is_small() -> None:
    """200 nodes, 4096 partitions, two rings side by side: well under 200 KiB."""
    ring = place(tuple(Member(f"storage-node-{i:03d}", f"rack-{i % 20}") for i in range(200)), 4096, 3)
    after = make_plan(ring, [Change("leave", "storage-node-007")], 2).after
    assert len(encode_ring_state(RingState.first(ring).moving_to(after))) < 100_000


@given(st.data())
def test_damage_is_noticed(data: st.DataObject) -> None:
    """No flipped bit and no cut gives another state."""
    sent = bytearray(encode_ring_state(STATES[1]))
    if data.draw(st.booleans()):
        sent[data.draw(st.integers(0, len(sent) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del sent[data.draw(st.integers(0, len(sent) - 1)) :]
    with pytest.raises(RemoteProtocolError):
        decode_ring_state(sent)


@pytest.mark.parametrize(
    "fields",
    [
        [1, "stable", 1, []],
        [1, "stable", 1, [[1, 0, [["a", "z", 1.0]], b""]]],
        [1, "stable", 1, [[1, 1, [["a", "z", 1.0]], b"\1\0"]]],
        [1, "stable", 1, [[1, 1, [["a", "z", 1.0]], b"\0"]]],
        [1, "stable", 0, [[1, 1, [["a", "z", 1.0]], b"\0\0"]]],
        [1, "moving", 1, [[1, 1, [["a", "z", 1.0]], b"\0\0"]]],
        [1, "dancing", 1, [[1, 1, [["a", "z", 1.0]], b"\0\0"]]],
        [1, "stable", 1, [[1, 2, [["a", "z", 1.0], ["b", "z", 1.0]], b"\0\0\0\0"]]],
        [1, "stable", 1, [[1, 1, [["a", "z", math.nan]], b"\0\0"]]],
        [1, "stable", 1, [[1, 1, [["a", "z", math.inf]], b"\0\0"]]],
        [1, "stable", 1, [[1, 1, [["a", "z", 0.0]], b"\0\0"]]],
        {"version": 1},
    ],
)
def test_impossible_states_are_refused(fields: object) -> None:
    """Right checksums do not make a ring: no owners, owners nobody knows, steps and epochs that cannot be."""
    payload = msgspec.msgpack.encode(fields)
    with pytest.raises(RemoteProtocolError, match="ring state"):
        decode_ring_state(b"\1" + crc32c(payload).to_bytes(4, "big") + payload)
