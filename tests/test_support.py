"""The tests' own tools: ports that are handed out once."""

import subprocess
import sys
from pathlib import Path

import conftest
import pytest

import tests.conftest
from tests.support.ports import PortAllocator, free_port

ROOT = Path(__file__).parents[1]
OTHER_PROCESS = """
import sys
from pathlib import Path
from tests.support.ports import PortAllocator
allocator = PortAllocator(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])))
print(*[allocator.take() for _ in range(10)], flush=True)
sys.stdin.read()
"""


def test_every_import_of_free_port_is_the_same_allocator() -> None:
    assert conftest.free_port is free_port
    assert tests.conftest.free_port is free_port


def test_no_port_is_handed_out_twice_between_two_processes(tmp_path: Path) -> None:
    """Each takes half of a range that has exactly enough ports for both; the range is given back when one ends."""
    first = free_port(20)
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "claims"), str(first), str(first + 20)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    theirs = {int(port) for port in other.stdout.readline().split()}
    allocator = PortAllocator(tmp_path / "claims", range(first, first + 20))
    ours = {allocator.take() for _ in range(10)}
    assert ours | theirs == set(range(first, first + 20))
    with pytest.raises(AssertionError, match="no 1 free ports"):
        allocator.take()
    other.communicate()
    assert {allocator.take() for _ in range(10)} == theirs


def test_ports_far_above_are_claimed_with_the_first() -> None:
    """Neighbours and offsets are all of the taker: no later one gets any of them."""
    first = free_port(2, [500])
    taken = {first, first + 1, first + 500}
    assert not taken & {free_port() for _ in range(300)}
