"""The JSON that nodes answer with: what a client may count on in it, and within which bounds.

Answers carry more than is listed here; it is passed on as it is.
"""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=1 << 62)]
#: Copies of one thing, and nodes that are asked about it.
Copies = Annotated[int, Meta(ge=1, le=1000)]
#: Milliseconds since 1970, up to the year 9999; 0 where it did not happen yet.
Moment = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
Number = Annotated[float, Meta(ge=-1e18, le=1e18)]
Offset = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
Counts = dict[str, Count]


class Receipt(TypedDict):
    """What became of a PUT."""

    version: str
    etag: str
    size_bytes: Count
    stored_on: list[str]


class FileRow(TypedDict):
    """A file of a listing. siblings: versions beside this one."""

    path: str
    size_bytes: Count
    etag: str
    siblings: NotRequired[Count]


class FilePage(TypedDict):
    """A page of a listing."""

    files: list[FileRow]
    prefixes: list[str]
    cursor: str | None


class BucketPage(TypedDict):
    """A page of the buckets."""

    buckets: list[str]
    cursor: str | None


class Sibling(TypedDict):
    """One of several versions."""

    version: str
    size_bytes: Count
    modified_unix_ms: Moment


class Siblings(TypedDict):
    """A 300: which versions there are."""

    versions: Annotated[list[Sibling], Meta(min_length=1)]
    context: str


class ChunkRow(TypedDict):
    """A chunk and its copies."""

    index: Count
    id: str
    copies: dict[str, str]


class FileStat(TypedDict):
    """A file's version and where it lies."""

    version: str
    size_bytes: Count
    etag: str
    content_type: str
    metadata: dict[str, str]
    siblings: list[Sibling]
    is_inline: bool
    chunk_count: Count
    record: dict[str, str]
    chunks: list[ChunkRow]
    next: Count | None


class JobRow(TypedDict):
    """A background job."""

    name: str
    state: str
    is_paused: bool
    begun: Count
    runs: Count
    failures: Count
    items: Count
    mended: Count
    queued: Count
    bytes_per_s: Count
    bytes_per_s_max: Count | None
    share: Number
    last_error: str


class Jobs(TypedDict):
    """All background jobs of a node."""

    seen_by: str
    jobs: list[JobRow]


class HintRow(TypedDict):
    """What one node keeps for another."""

    keeper: str
    target: str
    count: Count
    bytes: Count
    oldest_unix_ms: Moment


class Hints(TypedDict):
    """What all nodes keep for others."""

    hints: list[HintRow]
    silent: dict[str, str]


class MissingCopy(TypedDict):
    """Something that misses copies."""

    path: str
    what: str
    copies: Count
    nodes: dict[str, str]


class Census(TypedDict):
    """What a census counted."""

    n: Copies
    started_unix_ms: Moment
    finished_unix_ms: Moment
    partitions: Counts
    files: Counts
    chunks: Counts
    deleted: Count
    lacking: list[MissingCopy]
    silent: dict[str, str]
    is_whole: bool


class NodeView(TypedDict):
    """One node and a file."""

    node: str
    role: str
    is_up: bool
    state: str
    versions: list[str]
    keeps_for: Counts


class BadCopy(TypedDict):
    """A chunk that an owner cannot show."""

    chunk: str
    node: str
    state: str


class Explanation(TypedDict):
    """Everything about one file."""

    bucket: str
    path: str
    partition: Count
    nodes: list[NodeView]
    versions: list[str]
    deleted: bool
    chunk_count: Count
    chunk_copies: Counts
    bad_copies: list[BadCopy]
    next_steps: list[str]
