"""Where a prompt listens."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_NAME = "attach.sock"


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a path of the same socket by way of its open directory: a socket's path may have 108 bytes only."""
    directory = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
