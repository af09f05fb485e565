"""Stores in temporary directories."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dynafs.config import StorageSettings
from dynafs.node import SystemClock
from dynafs.storage import LocalStore, open_store_in
from dynafs.storage.directory import DataDirectory


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[Callable[[], LocalStore]]:
    """Return an opener of the one store in this test's directory; what is left open is closed afterwards."""
    opened: list[LocalStore] = []

    def open_() -> LocalStore:
        directory = DataDirectory(tmp_path / "data", "c", "n1", "generation")
        opened.append(open_store_in(directory, StorageSettings(segment_size_bytes_max=1 << 20), SystemClock().wall_ms))
        return opened[-1]

    async def close() -> None:
        while opened:
            await opened.pop().close()

    open_.close = close
    yield open_
    await close()
