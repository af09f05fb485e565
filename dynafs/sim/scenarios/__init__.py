"""Named scenarios: what dynafs promises when one particular thing goes wrong, as short scripts.

Every script ends in a world that may still be broken; the runner mends it, reads everything through every node and
checks all promises (`run.settle`, `checkers`). Run one with many seeds: `tools/dev sim --scenario NAME --seeds 100`.
"""

from dynafs.sim.scenarios import agreement, availability, collection, handoff, quorums, recovery, ring, trees
from dynafs.sim.scenarios.stage import SCENARIOS, run_scenario

__all__ = [
    "SCENARIOS",
    "agreement",
    "availability",
    "collection",
    "handoff",
    "quorums",
    "recovery",
    "ring",
    "run_scenario",
    "trees",
]
