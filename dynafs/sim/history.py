"""What clients did and saw."""

import math
import random
from dataclasses import dataclass, field

from crc32c import crc32c

from dynafs.sim.linearizability import Operation

#: Least size of a file: its contents begin with the name of the write.
HEADER_SIZE_BYTES = 24


@dataclass(frozen=True)
class SeenListing:
    """A whole listing of a bucket: paths and folded prefixes under a prefix, and when it was called and returned."""

    bucket: str
    prefix: str
    paths: tuple[str, ...]
    called: float
    returned: float
    delimiter: str = ""
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LooseWrite:
    """A write (None: a delete) to a file of an available bucket. seen: values it was meant to replace; None: all.

    stamp: as the client was told, empty when the outcome is unknown.
    """

    value: str | None
    called: float
    returned: float
    seen: frozenset[str] | None
    stamp: str = ""


@dataclass
class History:
    """All operations of a run, by file, and all listings. Files are named bucket/path."""

    files: dict[str, list[Operation]] = field(default_factory=dict)
    #: {file: [(called, returned, stamp as the client was told)]} of acknowledged writes
    stamps: dict[str, list[tuple[float, float, str]]] = field(default_factory=dict)
    listings: list[SeenListing] = field(default_factory=list)
    #: {available bucket: its conflict policy}, and the writes to its files
    available: dict[str, str] = field(default_factory=dict)
    loose: dict[str, list[LooseWrite]] = field(default_factory=dict)
    #: {what: how often}, for people
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def strong(self) -> dict[str, list[Operation]]:
        """The files that are linearizable registers."""
        return {name: one for name, one in self.files.items() if name.partition("/")[0] not in self.available}

    def count(self, what: str) -> None:
        """Count one outcome."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def wrote(self, name: str, value: str | None, called: float, returned: float = math.inf) -> None:
        """A write (None: a delete); without `returned` its outcome is unknown."""
        self.files.setdefault(name, []).append(Operation("write", value, called, returned))

    def read(self, name: str, value: str | None, called: float, returned: float) -> None:
        """A read that saw a value (None: no file)."""
        self.files.setdefault(name, []).append(Operation("read", value, called, returned))


def contents_of(value: str, size_bytes: int) -> bytes:
    """Return the contents a write of this name and size has; different writes differ from the first bytes on.

    Some share everything behind their header, so that their chunks are the same ones.
    """
    header = f"{value:<{HEADER_SIZE_BYTES}}".encode()[:HEADER_SIZE_BYTES]
    seed = "shared" if crc32c(value.encode()) % 4 == 0 else value
    return header + random.Random(seed).randbytes(max(size_bytes - HEADER_SIZE_BYTES, 0))  # noqa: S311
