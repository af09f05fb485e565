"""How dynafs starts itself again: with the code that runs now, never with what lies in the working directory."""

import os
import sys
from pathlib import Path

import dynafs


def own_command(*arguments: str) -> list[str]:
    """Return the command line that runs dynafs with these arguments."""
    # Without -P modules are looked for in the working directory first: a folder named dynafs there would run.
    return [sys.executable, "-P", "-m", "dynafs", *arguments]


def own_environment() -> dict[str, str]:
    """Return the environment for it.

    A checkout that is not installed is found by the working directory alone (`python -m dynafs` inside of it); its
    absolute path takes the place of that.
    """
    root = str(Path(dynafs.__file__).parents[1])
    if sys.flags.safe_path or root in map(os.path.abspath, sys.path[1:]):
        return dict(os.environ)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
