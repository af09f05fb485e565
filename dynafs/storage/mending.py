"""Mending a stopped node's data directory by hand."""

import os
import shutil
import time
from pathlib import Path

from dynafs.config import StorageSettings
from dynafs.storage.directory import GENERATION_SIZE_BYTES, DataDirectory
from dynafs.storage.index import RocksIndex
from dynafs.storage.live import build_live
from dynafs.storage.posix import PosixSegments
from dynafs.storage.recovery import rebuild


def rebuild_index(directory: DataDirectory, settings: StorageSettings) -> int:
    """Index all chunks from the segments and all live names from the records; return the number of chunk entries."""
    index = RocksIndex(directory.index_path, settings.cache_size_bytes, settings.write_buffer_size_bytes)
    try:
        build_live(index, is_forced=True)
        return rebuild(index, PosixSegments(directory.segments_path))
    finally:
        index.close()


def set_index_aside(directory: DataDirectory) -> Path | None:
    """Move an index that cannot be opened out of the way; return where it went, None when there was none.

    The records and the clock's ceiling are lost with it, so the directory becomes a new generation first: its stamps
    are another actor's, and it is refilled before it answers reads.
    """
    if not directory.index_path.exists():
        return None
    directory.renew(os.urandom(GENERATION_SIZE_BYTES).hex())
    aside = directory.path / f"index.aside-{int(time.time())}"
    shutil.move(directory.index_path, aside)
    return aside
