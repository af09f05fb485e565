#!/usr/bin/env python3
"""Break real nodes in every way this machine allows, and check that nothing is lost and everything heals.

    tools/dev test-faults [--seed S] [--keep DIR] [--files N] [--overwrites N] [NAME ...]

Names: kill wipe refill rot full power clocks slow space. All of them take under 15 minutes. `full`, `power` need root
(they mount file systems of their own), `clocks` needs gcc, `refill` needs wrk; what cannot be done here is said and
fails the run unless it was left out by name. --files 10000 --overwrites 100 make `space` long, and need 40 GB of disk.
"""

import argparse
import asyncio
import ctypes
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tools.faults.disk_limits import full, power, space
from tools.faults.disk_losses import refill, rot, wipe
from tools.faults.node_faults import clocks, kill, slow
from tools.faults.stage import Stage
from tools.faults.telling import say

CHECKS = {one.__name__: one for one in (kill, wipe, refill, rot, full, power, clocks, slow, space)}


def main() -> None:
    """Run the checks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--keep", type=Path, help="leave data and logs in this directory")
    parser.add_argument("--files", type=int, default=1500, help="files that `space` makes and deletes")
    parser.add_argument("--overwrites", type=int, default=12, help="times that `space` overwrites 256 MiB")
    parser.add_argument("names", nargs="*", choices=[*CHECKS, []], metavar="NAME")
    chosen = parser.parse_args()
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: nothing a node leaves behind outlives this run
    say(f"seed {chosen.seed}")
    root = chosen.keep or Path(tempfile.mkdtemp(prefix="dynafs-faults-"))
    for name in chosen.names or CHECKS:
        say(f"{name}: {CHECKS[name].__doc__}")
        stage = Stage(root / name, chosen.seed, chosen.files, chosen.overwrites)
        try:
            asyncio.run(CHECKS[name](stage))
        finally:
            for where in list(stage.mounts):
                stage.unmount(where)
            if not chosen.keep:
                shutil.rmtree(stage.path, ignore_errors=True)
    say("all checks passed")


if __name__ == "__main__":
    sys.exit(main())
