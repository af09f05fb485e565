"""WHERE does it live? Pure.

Problem: map every file record and chunk to N owners so that load follows weights, copies sit in distinct zones,
and a node that joins or leaves moves little more than the share that has to move.

Rule: the hash space is cut into Q fixed partitions (Dynamo section 6.2, strategy 3). A key finds its partition by its
first bits, and an immutable `Ring` names the owners of every partition, so routing is an array look-up whatever the
number of nodes. uhashring orders nodes per partition only while a ring is laid out, and for fallbacks.

Alternatives: hashing keys straight onto a continuum (strategy 1) ties the data a node holds to random arcs, which makes
balance, Merkle trees and moves depend on luck; a max-flow over all partitions (Garage) is optimal but opaque. Bounded
loads with short exchange paths reach the same balance and can be followed by hand.

A ring changes by staged changes (`change`) that a `plan` shows before they are committed; nodes agree on what follows
what (`agreement`) and go from one ring to the next in steps that may overlap (`transition`).

Tested by properties up to 200 nodes: distinct zones, balance, minimal movement, determinism; agreement and transitions
by random interleavings in which every rule is broken once.
"""

from dynafs.ring.keyspace import (
    BRANCH_LEAVES,
    LEAF_COUNT,
    PARTITION_COUNT_MAX,
    chunk_partition,
    file_hash,
    leaf_of,
    leaves_per_partition,
    partition_of,
)
from dynafs.ring.placement import place
from dynafs.ring.ring import Member, Ring

__all__ = [
    "BRANCH_LEAVES",
    "LEAF_COUNT",
    "PARTITION_COUNT_MAX",
    "Member",
    "Ring",
    "chunk_partition",
    "file_hash",
    "leaf_of",
    "leaves_per_partition",
    "partition_of",
    "place",
]
