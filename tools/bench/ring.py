#!/usr/bin/env python3
"""What a large ring costs: laying it out, planning changes, its document, looking up owners. No node is started.

tools/dev bench-ring [--nodes 200] [--partitions 4096] [--rounds 3]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

from dynafs.ring import Member, Ring, file_hash, place
from dynafs.ring.change import Change
from dynafs.ring.plan import make_plan
from dynafs.ring.transition import RingState
from dynafs.ring.view import RingView
from dynafs.wire.ring import encode_ring_state

N = 3
ZONES = 10
SMALL_NODES = 3
LOOK_UPS = 100_000
KEYS = 10_000


def ring_of(nodes: int, partitions: int) -> Ring:
    """Return a ring of so many nodes in ten zones."""
    return place(tuple(Member(f"n{i}", f"z{i % ZONES}", 1.0) for i in range(nodes)), partitions, N)


def timed(work: Callable[[], object], rounds: int) -> float:
    """Return the median seconds that some work takes."""
    found_s = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        work()
        found_s.append(time.perf_counter() - began_s)
    return statistics.median(found_s)


def look_up_us(ring: Ring, rounds: int) -> float:
    """Return the microseconds from a file's key to whom to read from, and whom to write to."""
    view, keys = RingView(RingState.first(ring)), [b"bucket\0path/to/file%d" % i for i in range(KEYS)]

    def look_up() -> None:
        for i in range(LOOK_UPS):
            place_of = file_hash(keys[i % KEYS])
            view.readers(place_of)
            view.writers(place_of)

    return 1e6 * timed(look_up, rounds) / LOOK_UPS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--partitions", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    ring = ring_of(chosen.nodes, chosen.partitions)
    changes = (Change("join", "new", zone="z1"), Change("leave", "n7"), Change("weight", "n9", weight=2.0))
    plan = make_plan(ring, changes, ring.epoch + 1)
    moving = RingState.first(ring).moving_to(plan.after)
    print(f"{chosen.nodes} nodes, {chosen.partitions} partitions of {N} copies, medians of {chosen.rounds} rounds")
    print(f"lay out    {timed(lambda: ring_of(chosen.nodes, chosen.partitions), chosen.rounds):8.3f} s")
    print(f"plan       {timed(lambda: make_plan(ring, changes, ring.epoch + 1), chosen.rounds):8.3f} s, 3 changes")
    print(f"moves      {len(plan.moves):8d} copies, at least {plan.moves_min}")
    still_kib, moving_kib = (len(encode_ring_state(state)) / 1024 for state in (RingState.first(ring), moving))
    print(f"document   {still_kib:8.1f} KiB, {moving_kib:.1f} while it moves")
    small, large = (look_up_us(one, chosen.rounds) for one in (ring_of(SMALL_NODES, chosen.partitions), ring))
    print(f"look up    {large:8.2f} us a key, {small:.2f} with {SMALL_NODES} nodes: {large / small:.2f}x")


if __name__ == "__main__":
    sys.exit(main())
