"""Content types by the ending of a name."""

import mimetypes
from pathlib import PurePosixPath

UNKNOWN = "application/octet-stream"
#: What wraps another file is of the wrapper's type: `page.html.gz` is no HTML for a browser without Content-Encoding.
_WRAPPERS = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}
_ENDINGS = {
    ".zst": "application/zstd",
    ".lz4": "application/x-lz4",
    ".lzma": "application/x-lzma",
    ".lz": "application/x-lzip",
}


def content_type_of(path: str) -> str:
    """Return the content type of a file named so. path: parts separated by /."""
    name = path.rpartition("/")[2]
    ending = PurePosixPath(name).suffix.lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    # With a slash before it no name is taken for a URL with a scheme or a host.
    found, encoding = mimetypes.guess_type("/" + name)
    if encoding is not None:
        return _WRAPPERS.get(encoding, UNKNOWN)
    return found or UNKNOWN
