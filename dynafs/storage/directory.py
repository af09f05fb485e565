"""The data directory: identity, lock, format.

LOCK           held by the running node
dynafs.json    format, cluster, node, generation
attach.sock    an operator's prompt, while the node runs
index/         RocksDB
segments/      chunk bytes

All of it is for its owner alone: directories are made with mode 0700, files with 0600, and what an earlier version or
an operator made wider is tightened.
"""

import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from dynafs.errors import StoreRefused
from dynafs.observe.events import get_logger

log = get_logger()

IDENTITY_FILE, LOCK_FILE = "dynafs.json", "LOCK"
DIRECTORY_FORMAT = 1
GENERATION_SIZE_BYTES = 4
PRIVATE_DIRECTORY, OTHERS = 0o700, 0o077
#: What lies in a data directory, besides indexes that were set aside; a file system of its own has lost+found.
OUR_ENTRIES = frozenset({LOCK_FILE, IDENTITY_FILE, "dynafs.new", "attach.sock", "index", "segments", "lost+found"})


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
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise StoreRefused(f"{path / IDENTITY_FILE} cannot be read: {error}") from None


def is_in_use(path: Path) -> bool:
    """Return whether a process has a data directory open. Nothing is made or changed."""
    try:
        lock_fd = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock_fd)
    return False


class DataDirectory:
    """An opened, locked data directory."""

    def __init__(self, path: Path, cluster: str, node: str, new_generation: str) -> None:
        """Open or make the directory. Raises StoreRefused when this process must not use it."""
        self.path = path
        try:
            path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            self.segments_path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            self._tighten()
            self._lock_fd = os.open(path / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
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

    def _tighten(self) -> None:
        """Take the rights of group and others away. A directory that holds anything else besides the data is left as it
        is: it is not this node's alone, and what is inside is protected by itself."""
        for directory in (self.index_path, self.segments_path, self.path):
            mode = stat.S_IMODE(directory.stat().st_mode) if directory.exists() else 0
            if not mode & OTHERS:
                continue
            is_shared = directory == self.path and any(not _is_ours(entry.name) for entry in self.path.iterdir())
            try:
                if not is_shared:
                    directory.chmod(mode & ~OTHERS)
            except PermissionError:
                is_shared = True
            if is_shared:
                log.warning("directory.exposed", path=str(directory), mode=f"{mode:04o}")
            else:
                log.info("directory.tightened", path=str(directory), mode=f"{mode:04o}")

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
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
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


def _is_ours(name: str) -> bool:
    return name in OUR_ENTRIES or name.startswith("index.aside-")


def write_durably(path: Path, data: bytes) -> None:
    """Replace a small file so that a crash leaves the old or the new one, whole; only its owner can read it, from the
    first moment on."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
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
