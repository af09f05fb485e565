"""The data directory: identity, lock, format.

LOCK           held by the running node
dynafs.json    format, cluster, node, generation
index/         RocksDB
segments/      chunk bytes
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from dynafs.errors import StoreRefused

IDENTITY_FILE = "dynafs.json"
DIRECTORY_FORMAT = 1
GENERATION_SIZE_BYTES = 4


class Identity(msgspec.Struct, frozen=True):
    """Whose data this is. generation: made anew for an empty directory, so a node that lost its disk is a new actor."""

    format: int
    cluster: str
    node: str
    generation: str


def name_in(path: Path) -> str | None:
    """Return the name of the node whose data a directory holds, None when it holds none. Raises StoreRefused."""
    try:
        return msgspec.json.decode((path / IDENTITY_FILE).read_bytes(), type=Identity).node
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StoreRefused(f"{path / IDENTITY_FILE} cannot be read: {error}") from None


class DataDirectory:
    """An opened, locked data directory."""

    def __init__(self, path: Path, cluster: str, node: str, new_generation: str) -> None:
        """Open or make the directory. Raises StoreRefused when this process must not use it."""
        self.path = path
        try:
            self.segments_path.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(path / "LOCK", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreRefused(f"data directory {path} cannot be used: {error.strerror}") from None
        try:
            self._take_lock()
            self._load_identity(cluster, node, new_generation)
        except BaseException:
            os.close(self._lock_fd)
            raise

    @property
    def index_path(self) -> Path:
        """Where RocksDB lives."""
        return self.path / "index"

    @property
    def segments_path(self) -> Path:
        """Where segment files live."""
        return self.path / "segments"

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreRefused(f"data directory {self.path} is in use by another process") from None

    def _load_identity(self, cluster: str, node: str, new_generation: str) -> None:
        path = self.path / IDENTITY_FILE
        if not path.exists():
            if any(self.segments_path.iterdir()) or self.index_path.exists():
                raise StoreRefused(f"{path} is missing but the directory holds data; restore the file")
            self._keep(Identity(DIRECTORY_FORMAT, cluster, node, new_generation))
            return
        try:
            identity = msgspec.json.decode(path.read_bytes(), type=Identity)
        except msgspec.DecodeError as error:
            raise StoreRefused(f"{path} is damaged: {error}") from None
        if identity.format > DIRECTORY_FORMAT:
            raise StoreRefused(f"{self.path} has format {identity.format}; this dynafs reads up to {DIRECTORY_FORMAT}")
        if (identity.cluster, identity.node) != (cluster, node):
            raise StoreRefused(
                f"{self.path} belongs to node {identity.node} of cluster {identity.cluster}, "
                f"not to node {node} of cluster {cluster}"
            )
        if not self.index_path.exists():
            # The records went with the index, so what this node acknowledged is not all here any more.
            self._keep(msgspec.structs.replace(identity, generation=new_generation))
        else:
            self.identity = identity

    def renew(self, generation: str) -> None:
        """Become a new generation: what this node acknowledged before is not all here any more."""
        self._keep(msgspec.structs.replace(self.identity, generation=generation))

    def _keep(self, identity: Identity) -> None:
        self.identity = identity
        write_durably(self.path / IDENTITY_FILE, msgspec.json.format(msgspec.json.encode(identity)))

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock_fd)

    def __enter__(self) -> Self:
        """Return the open directory."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        self.close()


def write_durably(path: Path, data: bytes) -> None:
    """Replace a small file so that a crash leaves the old or the new one, whole."""
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the directory's entries durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
