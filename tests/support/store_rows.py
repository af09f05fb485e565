"""The rows below a store, for what its own methods never do: rot, rows of an earlier version, rows that a bug left out.

No other module of the tests reaches behind a store.
"""

from collections.abc import Mapping

from dynafs.storage import LocalStore
from dynafs.storage.disk import Index

TREE_FAMILIES = ("by_partition", "trees")


class StoreRows:
    """The index of an open store, without its commit lanes and caches."""

    def __init__(self, store: LocalStore) -> None:
        self.index: Index = store._index

    def read(self, family: str) -> dict[bytes, bytes]:
        return dict(self.index.scan(family, b""))

    def put(self, family: str, rows: Mapping[bytes, bytes]) -> None:
        batch = self.index.batch()
        for key, value in rows.items():
            batch.put(family, key, value)
        self.index.apply(batch)

    def delete(self, family: str, *keys: bytes) -> None:
        batch = self.index.batch()
        for key in keys:
            batch.delete(family, key)
        self.index.apply(batch)

    def replace(self, family: str, rows: Mapping[bytes, bytes]) -> None:
        """Make these all rows of a family."""
        self.delete(family, *(self.read(family).keys() - rows.keys()))
        self.put(family, rows)

    def corrupt(self, family: str, key: bytes) -> None:
        """Give a row a value that no decoder accepts."""
        self.put(family, {key: b"rot"})

    def drop_trees(self) -> None:
        """Remove all sums and digests; the store goes on as if they were kept."""
        for family in TREE_FAMILIES:
            self.delete(family, *self.read(family))
