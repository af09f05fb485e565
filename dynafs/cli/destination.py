"""Where `get` writes to.

Problem: a download that breaks off, or goes where it was not expected, must not cost a local file. Rules: a regular
file is written beside its place under a fresh random name that only its owner may read (O_EXCL, O_NOFOLLOW: nothing
that is there is opened), and takes the place only when it is whole; it keeps the mode of what it replaces. A link is
followed, so that it stays. What is no regular file (device, FIFO, standard output) is written to and never replaced.
"""

import asyncio
import errno
import os
import re
import select
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

MODE_DRAFT = 0o600
MODE_NEW = 0o666
#: Pause between two looks whether a FIFO has its reader.
LOOK_S = 0.05
#: Names of streams that are open in this process; what they lead to may be a regular file that is not to be replaced.
_OWN_STREAM = re.compile(r"/dev/(?:stdout|stderr|fd/([0-9]+))|/proc/self/fd/([0-9]+)")


class Destination:
    """An open local file or stream."""

    def __init__(self, descriptor: int, name: str) -> None:
        """name: for messages."""
        self._descriptor, self._name = descriptor, name

    def write(self, piece: bytes) -> None:
        """Write all of it. Raises OSError with the name in it, BrokenPipeError when a stream's reader went away."""
        view = memoryview(piece)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OSError(error.errno, error.strerror, self._name) from error


def local_path(destination: str | None, path: str) -> Path:
    """Return where a file of the cluster goes: to `destination`, or below it when it is a directory; None: into the
    working directory. path: of the file in its bucket. Raises OSError when its name cannot be a local file's."""
    if destination == "":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "''")
    if destination is not None and not Path(destination).is_dir():
        if destination.endswith("/"):
            raise NotADirectoryError(errno.ENOTDIR, "no such directory", destination)
        return Path(destination)
    name = path.rpartition("/")[2]
    if name in ("", ".", "..") or "\0" in name:
        raise OSError(errno.EINVAL, "the name is none for a local file; give one as FILE", path)
    return Path(destination or ".") / name


@asynccontextmanager
async def open_destination(path: Path | None) -> AsyncIterator[Destination]:
    """Open what is at `path`, None for standard output; a regular file appears when the block ends without an
    exception. Raises OSError."""
    descriptor = os.dup(1) if path is None else await _open_stream(path)
    if descriptor is None:
        assert path is not None
        with draft(path) as destination:
            yield destination
        return
    try:
        yield Destination(descriptor, "standard output" if path is None else str(path))
    finally:
        os.close(descriptor)


async def _open_stream(path: Path) -> int | None:
    """Return a descriptor of a device, FIFO or the like, None when that is not what is there. Raises OSError."""
    if own := _OWN_STREAM.fullmatch(str(path)):
        try:
            return os.dup(int(own[1] or own[2] or {"/dev/stdout": 1, "/dev/stderr": 2}[own[0]]))
        except (OSError, OverflowError) as error:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(path)) from error
    if (found := _stat(path)) is None or stat.S_ISREG(found.st_mode):
        return None
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            # A FIFO without a reader; it may come.
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(found.st_mode):
                raise
            await asyncio.sleep(LOOK_S)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


@contextmanager
def draft(path: Path) -> Iterator[Destination]:
    """Write a regular file, which appears at `path` when the block ends without an exception; else nothing is left.
    Raises OSError."""
    place = path.resolve() if _stat(path) is not None else _link_target(path)
    found = _stat(place)
    if found is not None and not os.access(place, os.W_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    name = f".{token_hex(8)}.part"
    try:
        descriptor = _create(name, directory, place)
        try:
            yield Destination(descriptor, str(path))
            _take_mode(descriptor, found)
        finally:
            os.close(descriptor)
        _replace(name, directory, place)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(directory)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _link_target(path: Path) -> Path:
    """Return what a link leads to that leads nowhere yet; otherwise the path."""
    return path.resolve() if path.is_symlink() else path.parent.resolve() / path.name


def _create(name: str, directory: int, place: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, MODE_DRAFT, dir_fd=directory)
    except OSError as error:
        raise OSError(
            error.errno, f"no file can be made in it: {(error.strerror or str(error)).lower()}", str(place.parent)
        ) from error


def _take_mode(descriptor: int, found: os.stat_result | None) -> None:
    """Give a new file the mode and, as far as allowed, the owner of what it replaces; else the mode by umask."""
    if found is None:
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(descriptor, MODE_NEW & ~mask)
        return
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (found.st_uid, found.st_gid):
        with suppress(PermissionError):
            os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & 0o777)


def _replace(name: str, directory: int, place: Path) -> None:
    """Put the draft into its place, unless something that is no regular file is there by now."""
    found = _stat(place)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EEXIST, "became something else than a file meanwhile", str(place))
    try:
        os.replace(name, place.name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from error
