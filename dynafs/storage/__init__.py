"""One node's disk.

Problem: keep small records and large chunks so that an acknowledged write survives a power cut, one fsync serves many
writers, and losing the index loses nothing.

Rule: chunk bytes go to append-only segment files, in entries that describe themselves; everything else (records,
where each chunk lies, references, quarantine, the node's identity) goes to RocksDB. Two commit lanes (records,
chunks) each run one thread that drains a queue: append all, one fdatasync, one RocksDB batch, then wake all waiters
at once. A chunk's index entry need not be synced: it is written in the same batch as the offset up to which its
segment is indexed, and on opening, what lies behind that offset is read back from the segment. A segment is never
appended to after a restart, so a torn tail is simply never referenced. Every batch also keeps the trees (`trees`) by
which nodes compare what they hold.

Alternatives: chunks in RocksDB cost a third of the write and a quarter of the read speed; one file per chunk costs an
inode and a directory sync each; appending to an old segment needs the tail to be judged and cut.

The store stands on a `Disk` (`disk`): the real one is `posix`, the simulator's loses what was not synced.

Tested by a contract suite on both disks, by crashes at every byte of a segment's tail and between all operations of a
commit, by kill -9 of real processes, and by rebuilding the index.
"""

from collections.abc import Callable

from dynafs.config import StorageSettings
from dynafs.storage.directory import DataDirectory
from dynafs.storage.local import LocalStore
from dynafs.storage.posix import LocalDisk

__all__ = ["LocalStore", "open_store_in"]


def open_store_in(directory: DataDirectory, settings: StorageSettings, wall_ms: Callable[[], int]) -> LocalStore:
    """Open the store of a data directory, which it takes over and closes. Raises StoreError, leaving nothing open."""
    try:
        return LocalStore(LocalDisk(directory, settings), settings, wall_ms)
    except BaseException:
        directory.close()
        raise
