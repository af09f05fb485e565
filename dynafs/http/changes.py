"""The body of POST /v1/ring/stage: one struct for each kind of change, so that each has the fields that it needs."""

import msgspec

from dynafs.http.bodies import json_body
from dynafs.ring.change import Change

EXAMPLE = '{"kind": "leave", "node": "n3"}'


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    node: str


class _Join(_Asked, tag="join", frozen=True):
    """zone: null leaves it to what the node itself says. address: empty likewise."""

    weight: float = 1.0
    zone: str | None = None
    address: str = ""


class _Leave(_Asked, tag="leave", frozen=True):
    pass


class _Replace(_Asked, tag="replace", frozen=True):
    """weight, zone: null keeps those of the node that is replaced."""

    by: str
    weight: float | None = None
    zone: str | None = None
    address: str = ""


class _Weight(_Asked, tag="weight", frozen=True):
    weight: float


class _Zone(_Asked, tag="zone", frozen=True):
    zone: str


_decoder: msgspec.json.Decoder[_Join | _Leave | _Replace | _Weight | _Zone] = msgspec.json.Decoder(
    _Join | _Leave | _Replace | _Weight | _Zone
)


def parse_change(body: bytes) -> Change:
    """Return the change that a body asks for. Raises RequestInvalid naming the field. Values are not judged yet."""
    asked = json_body(body, _decoder, EXAMPLE)
    match asked:
        case _Join():
            return Change("join", asked.node, weight=asked.weight, zone=asked.zone, address=asked.address)
        case _Leave():
            return Change("leave", asked.node)
        case _Replace():
            return Change("replace", asked.node, asked.by, asked.weight, asked.zone, asked.address)
        case _Weight():
            return Change("weight", asked.node, weight=asked.weight)
        case _Zone():
            return Change("zone", asked.node, zone=asked.zone)
