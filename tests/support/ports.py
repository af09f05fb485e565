"""Ports for nodes under test: each is handed out once, among all processes that run tests on this machine.

A port is free for the taker as long as its process lives, so that a node can stop and find its port again. The claim is
a lock on one byte of a file in the temporary directory (byte N stands for port N); the kernel releases it when the
process ends, however it ends. One open file is enough for all ports.
"""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

assert __name__ == "tests.support.ports", "import it as tests.support.ports: a second copy would hand out ports again"

#: Below the ports that the kernel hands to outgoing connections.
PORTS = range(11_000, 31_000)
CLAIMS = Path(tempfile.gettempdir()) / f"dynafs-test-ports-{os.getuid()}"


class PortAllocator:
    """Claims ports in a file of locks. One per process: the kernel grants a process its own locks again."""

    def __init__(self, claims: Path, ports: range = PORTS) -> None:
        self._claims = os.open(claims, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._ports, self._taken = ports, set[int]()

    def take(self, count: int = 1, also: Sequence[int] = ()) -> int:
        """Return the first of `count` neighbouring free ports, with those at the offsets `also` above it."""
        offsets = [*range(count), *also]
        starts = [port for port in self._ports if port + max(offsets) in self._ports]
        random.SystemRandom().shuffle(starts)
        for port in starts:
            if self._claim([port + offset for offset in offsets]):
                return port
        raise AssertionError(f"no {len(offsets)} free ports among {self._ports}")

    def _claim(self, ports: list[int]) -> bool:
        """Claim all of the ports, or none."""
        claimed: list[int] = []
        for port in ports:
            if port in self._taken or not self._lock(port):
                break
            claimed.append(port)
            if not _is_free(port):
                break
        else:
            self._taken.update(ports)
            return True
        for port in claimed:
            fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, port)
        return False

    def _lock(self, port: int) -> bool:
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_allocator = PortAllocator(CLAIMS)


def free_port(count: int = 1, also: Sequence[int] = ()) -> int:
    """Return the first of `count` neighbouring ports that are this process's from now on, with the offsets `also`."""
    return _allocator.take(count, also)
