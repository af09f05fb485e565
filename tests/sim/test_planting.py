"""Bugs to put in come with the source tree alone."""

import subprocess
import sys
from pathlib import Path

import pytest

import dynafs

#: Runs the simulator's command with this path as the only place of dynafs.
INSTALLED = """
import runpy, sys
root, package, *arguments = sys.argv[1:]
sys.path = [package, *(path for path in sys.path if path != root)]
sys.argv = ["dynafs.sim", *arguments]
runpy.run_module("dynafs.sim", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "code", "stream"),
    [(["--plant", "read-without-repair", "--seed", "1"], 2, "stderr"), (["--list"], 0, "stdout")],
)
def test_installed_package_names_what_is_missing(tmp_path: Path, arguments: list[str], code: int, stream: str) -> None:
    """Without the source tree --plant is refused, and --list still shows the scenarios."""
    root = Path(dynafs.__file__).parents[1]
    (tmp_path / "dynafs").symlink_to(root / "dynafs")
    command = [sys.executable, "-P", "-c", INSTALLED, str(root), str(tmp_path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "not part of the installed package" in getattr(done, stream)
    assert ("lost-disk" in done.stdout) == (arguments == ["--list"])
