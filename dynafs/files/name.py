"""Names of files: bucket and path, and the key their record is stored under."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from dynafs.errors import NameInvalid

#: Bytes of UTF-8; Swift and S3 draw the same line.
PATH_SIZE_BYTES_MAX = 1024
BUCKET_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@lru_cache(maxsize=1024)
def check_bucket(bucket: str) -> str:
    """Return the bucket name; raise NameInvalid unless it is 1 to 63 of A-Z a-z 0-9 . _ - and starts alphanumeric."""
    if not BUCKET_PATTERN.fullmatch(bucket):
        raise NameInvalid("bucket", "use 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit")
    return bucket


@dataclass(frozen=True, slots=True, order=True)
class FileName:
    """A file's name. The empty bucket is the namespace of bucket records, whose paths are bucket names."""

    bucket: str
    path: str

    @classmethod
    def parse(cls, bucket: str, path: str) -> Self:
        """Return the name of a user's file; raise NameInvalid with the field and the fix otherwise."""
        check_bucket(bucket)
        try:
            size_bytes = len(path) if path.isascii() else len(path.encode())
        except UnicodeEncodeError:
            raise NameInvalid("path", "the name is not valid UTF-8") from None
        _check_path(path, size_bytes)
        return cls(bucket, path)

    @classmethod
    def of_bucket(cls, bucket: str) -> Self:
        """Return the name under which a bucket's own record is kept."""
        return cls("", check_bucket(bucket))

    @property
    def key(self) -> bytes:
        """Bucket NUL path: what is hashed for placement and sorted for listings."""
        return b"%s\0%s" % (self.bucket.encode(), self.path.encode())

    @classmethod
    def from_key(cls, key: bytes) -> Self:
        """Return the name behind a key."""
        bucket, _, path = key.partition(b"\0")
        return cls(bucket.decode(), path.decode())

    def __str__(self) -> str:
        """Return bucket/path."""
        return f"{self.bucket}/{self.path}"


def check_key(key: bytes) -> None:
    """Raise NameInvalid unless a file or a bucket can have this key, which came from elsewhere."""
    try:
        bucket, separator, path = key.decode().partition("\0")
    except UnicodeDecodeError:
        raise NameInvalid("key", "the name is not valid UTF-8") from None
    if not separator:
        raise NameInvalid("key", "the name has no bucket")
    if bucket:
        check_bucket(bucket)
        _check_path(path, len(key) - len(bucket) - len(separator))
    else:
        check_bucket(path)


def _check_path(path: str, size_bytes: int) -> None:
    if not path:
        raise NameInvalid("path", "name the file after the bucket: /v1/files/BUCKET/PATH")
    if size_bytes > PATH_SIZE_BYTES_MAX:
        raise NameInvalid("path", f"the name has {size_bytes} bytes, at most {PATH_SIZE_BYTES_MAX} are allowed")
    if "\0" in path:
        raise NameInvalid("path", "the name contains a NUL character")


def common_prefix(path: str, prefix: str, delimiter: str) -> str:
    """Return the part of `path` that the delimiter folds it under, empty when nothing is folded."""
    if not delimiter:
        return ""
    cut = path.find(delimiter, len(prefix))
    return "" if cut < 0 else path[: cut + len(delimiter)]
