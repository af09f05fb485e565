"""Inputs for the peers' port: bytes of strangers, and odd messages of a caller that has the secret."""

import random
import typing
from collections.abc import Iterator

import msgspec

from dynafs.errors import LocalProtocolError
from dynafs.wire.frames import FrameKind, encode_frame
from dynafs.wire.handshake import WIRE_VERSION, Hello, Proof, Refusal, Welcome, encode_handshake
from dynafs.wire.messages import Request
from dynafs.wire.operator_messages import OperatorRequest
from tools.fuzz.inputs import mutated, text

#: Requests that a peer with the secret may order; they would take the node away, and with it what is measured.
REQUESTS = tuple(set(typing.get_args(Request)) - set(typing.get_args(OperatorRequest)))
WORDS = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\x91" * 600,
    b"\x01\x02",
    b"\xa0",
    b"\xc6\x7f\xff\xff\xff",
)


def hello(rng: random.Random, cluster: str, node: str, lane: str = "control") -> Hello:
    """Return the hello of a node that no ring has."""
    return Hello(WIRE_VERSION, cluster, node, lane, b"", rng.randbytes(32))


def stranger(rng: random.Random, cluster: str) -> bytes:
    """Return what a caller without the secret sends."""
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(200))
    first = hello(rng, rng.choice((cluster, "other", text(rng))), text(rng), rng.choice(("control", "bulk", text(rng))))
    messages = [first, Proof(rng.randbytes(rng.choice((0, 32, 900)))), Welcome(), Refusal(text(rng))]
    sent = b"".join(
        _framed(
            rng, FrameKind.HELLO, msgspec.msgpack.encode(_plain(one)) if rng.random() < 0.2 else encode_handshake(one)
        )
        for one in rng.choices(messages, weights=(6, 3, 1, 1), k=rng.randrange(1, 4))
        if _is_encodable(one)
    )
    return mutated(rng, sent, WORDS) if rng.random() < 0.6 else sent


def requests(rng: random.Random) -> Iterator[bytes]:
    """Yield frames of a proved peer: odd values in the right fields, wrong fields, wrong bodies, wrong kinds."""
    for _ in range(rng.randrange(1, 20)):
        kind = rng.choice(REQUESTS)
        values = {field.name: _value(rng, field.type) for field in msgspec.structs.fields(kind)}
        try:
            head = msgspec.msgpack.encode(kind(**values))
        except (UnicodeEncodeError, OverflowError):
            continue
        if rng.random() < 0.2:
            head = mutated(rng, head, WORDS)
        body = rng.choice(
            (
                b"",
                rng.randbytes(rng.choice((1, 16, 32, 300))),
                msgspec.msgpack.encode([[b"k", b"v"]] * rng.randrange(5)),
            )
        )
        try:
            sent = encode_frame(
                rng.choice((FrameKind.REQUEST,) * 20 + tuple(FrameKind)), rng.randrange(2**32), head, len(body)
            )
        except LocalProtocolError:
            continue
        yield mutated(rng, sent + body, WORDS, 2) if rng.random() < 0.1 else sent + body


def _framed(rng: random.Random, kind: FrameKind, head: bytes) -> bytes:
    return encode_frame(kind, rng.choice((0, 1, 2**32 - 1)), head)


def _plain(message: msgspec.Struct) -> list[object]:
    return [type(message).__name__, *(getattr(message, name) for name in message.__struct_fields__), 1]


def _is_encodable(message: msgspec.Struct) -> bool:
    try:
        encode_handshake(message)
    except UnicodeEncodeError:
        return False
    return True


def _value(rng: random.Random, kind: object) -> object:
    """Return an odd value of a field's type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is bool:
        return rng.random() < 0.5
    if kind is int:
        return rng.choice((0, 1, -1, 64, 1000, 2**31, 2**63 - 1, -(2**63), 2**64 - 1))
    if kind is float:
        return rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e300))
    if kind is bytes:
        return rng.choice(
            (b"", b"fuzz\0a", b"\0", b"\xff", rng.randbytes(16), rng.randbytes(32), rng.randbytes(64), bytes(33))
        )
    if kind is str:
        return rng.choice(("records", "chunks", "fuzz", "n1", text(rng), text(rng)))
    if origin in (list, tuple):
        return origin(
            _value(rng, inner[0])
            for _ in range(rng.choice((0, 1, 3, 70)) if origin is list or ... in inner else len(inner))
        )
    if origin is dict:
        return {_value(rng, inner[0]): _value(rng, inner[1]) for _ in range(rng.choice((0, 1, 3)))}
    choices = [one for one in inner if one is not type(None)]
    return _value(rng, rng.choice(choices)) if choices and rng.random() < 0.7 else None
