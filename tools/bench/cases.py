"""What is measured: the cases, and what one run of a case gives."""

from typing import NamedTuple

KIB, MIB = 1 << 10, 1 << 20


class Case(NamedTuple):
    """Requests of one kind. keys: how many files a GET chooses from, 0 for a PUT, whose keys are all new."""

    method: str
    size_bytes: int
    connections: int
    keys: int = 0

    @property
    def kind(self) -> str:
        """Where its files are; cases that differ in connections only share them."""
        return f"{self.method.lower()}-{self.size_bytes // KIB}k"


class Result(NamedTuple):
    """One run. cpu_ms: user and system time of all processes of the system under test, per request."""

    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_ms: float
    failed: int


SMALL_CASES = {
    "put_4k": Case("PUT", 4 * KIB, 16),
    "put_4k_64": Case("PUT", 4 * KIB, 64),
    "get_4k": Case("GET", 4 * KIB, 16, 500),
    "get_4k_64": Case("GET", 4 * KIB, 64, 500),
    "put_1m": Case("PUT", MIB, 4),
    "get_1m": Case("GET", MIB, 4, 100),
}
#: One file of this size goes up and comes back through one gateway; the rate is in MB/s.
LARGE_CASES = ("put_256m", "get_256m")
LARGE_SIZE_BYTES = 256 * MIB
CASES = (*SMALL_CASES, *LARGE_CASES)


def unit(case: str) -> str:
    """Return the unit of a case's rate."""
    return "MB/s" if case in LARGE_CASES else "/s"
