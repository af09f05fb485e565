"""One node's disk.

Problem: keep small records and large chunks so that an acknowledged write survives a power cut, one fsync serves many
writers, and losing the index loses nothing.

Rule: chunk bytes go to append-only segment files, in entries that describe themselves; everything else (records,
where each chunk lies, references, quarantine, the node's identity) goes to RocksDB. Two commit lanes (records,
chunks) each run one thread that drains a queue: append all, one fdatasync, one RocksDB batch, then wake all waiters
at once. A chunk's index entry need not be synced: it is written in the same batch as the offset up to which its
segment is indexed, and on opening, what lies behind that offset is read back from the segment. A segment is never
appended to after a restart, so a torn tail is simply never referenced.

Alternatives: chunks in RocksDB cost a third of the write and a quarter of the read speed; one file per chunk costs an
inode and a directory sync each; appending to an old segment needs the tail to be judged and cut.

Tested by a contract suite, by crashes at every byte of a segment's tail, by kill -9 of real processes, and by
rebuilding the index.
"""

from dynafs.storage.local import LocalStore

__all__ = ["LocalStore"]
