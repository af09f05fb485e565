"""What a census counts."""

import msgspec

#: Things with missing copies that are named; all are counted.
NAMED_MAX = 200

#: {good copies: how many}
Counts = dict[int, int]


class MissingCopy(msgspec.Struct, frozen=True):
    """Something that misses copies. nodes: {owner: what it has instead}."""

    path: str
    what: str
    copies: int
    nodes: dict[str, str]


class CensusReport(msgspec.Struct):
    """Counts are {good copies: how many}. silent: {node: why it did not answer}."""

    n: int
    is_deep: bool = False
    started_unix_ms: int = 0
    finished_unix_ms: int = 0
    partitions: Counts = {}
    files: Counts = {}
    chunks: Counts = {}
    deleted: int = 0
    lacking: list[MissingCopy] = []
    silent: dict[str, str] = {}

    @property
    def is_whole(self) -> bool:
        """Whether everything has all its copies."""
        return all(set(counts) <= {self.n} for counts in (self.partitions, self.files, self.chunks))

    def name(self, lack: MissingCopy) -> None:
        """Name what has the fewest copies."""
        self.lacking = sorted([*self.lacking, lack], key=lambda one: one.copies)[:NAMED_MAX]


def add(counts: Counts, copies: int) -> None:
    """Count one more thing with so many good copies."""
    counts[copies] = counts.get(copies, 0) + 1


def shown(key: bytes) -> str:
    """Return a record's key as people read it."""
    bucket, _, path = key.decode(errors="replace").partition("\0")
    return f"{bucket}/{path}" if bucket else f"bucket {path}"
