"""Which nodes own a file, as a node described it: GET /v1/ring/owners, decoded into the ring that nodes use, too."""

from collections.abc import Collection
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from dynafs.config import is_loopback
from dynafs.errors import RingError
from dynafs.files import FileName
from dynafs.ring import PARTITION_COUNT_MAX, Member, Ring, file_hash, partition_of
from dynafs.ring.names import is_address

NODES_MAX = 4096
COPIES_MAX = 255
#: 65536 partitions of three copies on 4096 nodes are below 2 MiB.
TABLE_SIZE_BYTES_MAX = 8 << 20

_Row = Annotated[list[Annotated[int, Meta(ge=0, lt=NODES_MAX)]], Meta(min_length=1, max_length=COPIES_MAX)]


class OwnerNode(msgspec.Struct, frozen=True):
    """A node of the ring. http: HOST:PORT where clients reach it, empty when they do not. instance: what this node
    answers at that address, and no other does."""

    node: str
    http: str
    instance: str
    is_up: bool
    is_draining: bool

    @property
    def is_serving(self) -> bool:
        """Whether requests may be sent to it."""
        return self.is_up and not self.is_draining and is_address(self.http)


class _Table(msgspec.Struct):
    version: int
    epoch: int
    n: int
    nodes: Annotated[list[OwnerNode], Meta(min_length=1, max_length=NODES_MAX)]
    owners: Annotated[list[_Row], Meta(min_length=1, max_length=PARTITION_COUNT_MAX)]


_decoder = msgspec.json.Decoder(_Table)


class Placement:
    """The owners of every file by one state of the ring."""

    def __init__(self, ring: Ring, nodes: dict[str, OwnerNode]) -> None:
        self._ring, self._nodes = ring, nodes

    @classmethod
    def decode(cls, body: bytes, *, is_near: bool) -> Self:
        """Return what a node described. is_near: this client is on the machine of that node; otherwise addresses that
        only that machine reaches are left out. Raises RingError."""
        try:
            table = _decoder.decode(body)
            names = [node.node for node in table.nodes]
            rows = tuple(tuple(names[place] for place in row) for row in table.owners)
        except (msgspec.MsgspecError, ValueError, RecursionError, IndexError) as error:
            raise RingError(f"owners cannot be decoded: {error}") from None
        ring = Ring(table.epoch, table.n, tuple(Member(name, "") for name in names), rows)
        usable = (node for node in table.nodes if node.is_serving and (is_near or not is_loopback(node.http)))
        return cls(ring, {node.node: node for node in usable})

    @property
    def nodes(self) -> Collection[OwnerNode]:
        """All nodes that requests may be sent to."""
        return self._nodes.values()

    def owners(self, name: FileName) -> list[OwnerNode]:
        """Return the owners of a file that requests may be sent to, the first choice first."""
        partition = partition_of(file_hash(name.key), self._ring.partition_count)
        return [self._nodes[node] for node in self._ring.owners[partition] if node in self._nodes]
