"""The data directory: one owner, one node, one cluster; and an index that can be made again."""

import os
import stat
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


async def test_directory_that_others_could_read_is_tightened(posix_box, events) -> None:
    """Made by hand, or by an earlier version; what lies in it was written before."""
    posix_box.open()
    await posix_box.close()
    directories = [posix_box.path, posix_box.path / "segments", posix_box.path / "index"]
    assert [stat.S_IMODE(one.stat().st_mode) for one in directories] == [0o700] * 3
    for one in directories:
        one.chmod(0o755)
    posix_box.open()
    assert [stat.S_IMODE(one.stat().st_mode) for one in directories] == [0o700] * 3
    told = [event for event in events if event["event"] == "directory.tightened"]
    assert sorted(event["path"] for event in told) == sorted(map(str, directories))
    assert {event["mode"] for event in told} == {"0755"}


async def test_directory_that_holds_other_things_keeps_its_rights(posix_box, events) -> None:
    """It may be a home or /tmp by mistake; what the node keeps there is closed by itself."""
    posix_box.path.mkdir()
    posix_box.path.chmod(0o755)
    (posix_box.path / "letters").mkdir()
    posix_box.open()
    assert stat.S_IMODE(posix_box.path.stat().st_mode) == 0o755
    assert [event["path"] for event in events if event["event"] == "directory.exposed"] == [str(posix_box.path)]
    open_to_others = [one.name for one in posix_box.path.iterdir() if one.stat().st_mode & 0o077]
    assert open_to_others == ["letters"]
