"""Bugs put in on purpose, each of which breaks one rule; a simulator worth its time finds them all.

`tools/dev sim --plant NAME` loads this package from the source tree (`dynafs.sim.planting`).
"""

from tests.sim.mutants.plants import PLANTS, planted

__all__ = ["PLANTS", "planted"]
