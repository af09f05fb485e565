"""WHICH write is newer? Pure.

Problem: decide between versions of one file that different coordinators wrote, with clocks that disagree and nodes that
come and go, without ever losing a write silently or letting an old one win.

Rule: every version is named by a `Stamp` (hybrid time, actor). A record is a dotted version vector set (Preguiça et
al., "Dotted Version Vectors", 2012): the versions that stand, and a context that remembers what was seen. The stamp
is at once the dot and the last-writer-wins order: an actor never issues one hybrid time twice (the clock's ceiling is
durable, see storage), so no separate counters are needed, and a version that dominates another always has the greater
stamp.

Alternatives: per-actor event counters (Riak) restart when a node loses its disk or crashes between issuing and storing;
plain wall-clock stamps (Swift, Cassandra) lose later writes to skewed clocks.

Tested by merge laws on random histories, and by a model in which every dominated version has a smaller stamp.
"""

from dynafs.causality.clock import HybridClock
from dynafs.causality.stamp import Stamp
from dynafs.causality.version_set import Context, VersionSet

__all__ = ["Context", "HybridClock", "Stamp", "VersionSet"]
