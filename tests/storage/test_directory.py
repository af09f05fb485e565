"""The data directory: one owner, one node, one cluster; and an index that can be made again."""

import os
from pathlib import Path

import pytest

from dynafs.config import StorageSettings
from dynafs.errors import StoreRefused
from dynafs.storage.directory import DataDirectory
from dynafs.storage.mending import rebuild_index, set_index_aside
from dynafs.wire.segments import chunk_id_of

UPLOAD = b"u" * 16


async def put(store, body: bytes) -> bytes:
    chunk_id = chunk_id_of(body)
    await store.put_chunk(chunk_id, UPLOAD, b"b\0p", body)
    return chunk_id


async def test_index_is_rebuilt_from_segments_alone(posix_box) -> None:
    """Losing the index loses no chunk."""
    store = posix_box.open()
    bodies = [os.urandom(300_000) for _ in range(6)]
    ids = [await put(store, body) for body in bodies]
    await posix_box.close()
    with DataDirectory(posix_box.path, "c", "n1", "x") as directory:
        before = directory.identity.generation
        assert set_index_aside(directory) is not None
        assert rebuild_index(directory, StorageSettings()) == 6
        assert directory.identity.generation != before
    store = posix_box.open()
    assert [bytes(await store.read_chunk(one)) for one in ids] == bodies


async def test_directory_in_use_or_of_another_node_is_refused(posix_box) -> None:
    """A data directory has one owner; format, cluster and node must fit."""
    posix_box.open()
    with pytest.raises(StoreRefused, match="in use"):
        DataDirectory(posix_box.path, "c", "n1", "x")
    await posix_box.close()
    for cluster, node in (("other", "n1"), ("c", "n2")):
        with pytest.raises(StoreRefused, match="belongs to node n1 of cluster c"):
            DataDirectory(posix_box.path, cluster, node, "x")
    identity = posix_box.path / "dynafs.json"
    identity.write_text(identity.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StoreRefused, match="format 2"):
        DataDirectory(posix_box.path, "c", "n1", "x")


async def test_generation_is_kept_and_new_for_an_empty_directory(tmp_path: Path) -> None:
    """A node that lost its disk, or only its index, comes back as another actor."""
    with DataDirectory(tmp_path / "a", "c", "n1", "first") as directory:
        assert directory.identity.generation == "first"
    with DataDirectory(tmp_path / "a", "c", "n1", "second") as directory:
        assert directory.identity.generation == "second"
        directory.index_path.mkdir()
    with DataDirectory(tmp_path / "a", "c", "n1", "third") as directory:
        assert directory.identity.generation == "second"
    with DataDirectory(tmp_path / "b", "c", "n1", "second") as directory:
        assert directory.identity.generation == "second"
