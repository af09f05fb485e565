"""The sections of the settings file: every setting with its type, its range and its default.

Every field has its unit in its name and a default that suits three nodes on ordinary machines; every number has a
range. `configs/node.toml` shows them all.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dynafs.files.policy import CHUNK_SIZE_BYTES_MAX, CHUNK_SIZE_BYTES_MIN, KIB, MIB, BucketPolicy
from dynafs.ring.keyspace import PARTITION_COUNT_MAX
from dynafs.ring.names import PORT_MAX, WEIGHT_MAX, WEIGHT_MIN

DAY_S = 86_400
#: Fields that no log, error or prompt shows.
SECRET_FIELDS = ("secret", "token")

Copies = Annotated[int, Meta(ge=1, le=255)]
Weight = Annotated[float, Meta(ge=WEIGHT_MIN, le=WEIGHT_MAX)]
Share = Annotated[float, Meta(ge=1e-9, le=1)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Budget = Annotated[int, Meta(ge=1, le=1 << 40)]
Seconds = Annotated[float, Meta(ge=0.001, le=DAY_S)]
Period = Annotated[float, Meta(ge=0.01, le=3650 * DAY_S)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""

    def __repr__(self) -> str:
        """Return it without secrets: operators print settings at a node's prompt."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown |= {name: "..." for name in SECRET_FIELDS if shown.get(name)}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class MemberSettings(Section, frozen=True):
    """One node of the cluster, as every node's settings list it."""

    node: str
    """Name, unique in the cluster: 1 to 63 of a-z A-Z 0-9 . _ -"""
    address: str
    """HOST:PORT where its peers reach it; a host name is resolved again at every connection."""
    zone: str = "default"
    """Failure domain (host, rack, site). Copies go to distinct zones while there are enough."""
    weight: Weight = 1.0
    """Share of data relative to the other nodes, above 0."""


class NodeSettings(Section, frozen=True):
    """This node."""

    name: str
    """Which of cluster.members this node is, or a name that none of them has: such a node waits until it is staged.
    "": what its data is named, or its host when there is none yet."""
    data_dir: str
    """Directory for everything it stores; made when missing. One node per directory."""
    listen: str = ""
    """HOST:PORT to listen on for peers. Default: its address in cluster.members. A node that is to join needs it."""
    zone: str = "default"
    """Failure domain that a node which is to join is staged in, unless the operator says another one."""
    gossip_port: Annotated[int, Meta(ge=0, le=PORT_MAX)] = 0
    """TCP and UDP port for gossip about who is alive, on the host of `listen`. 0: any that is free; choose one where a
    firewall stands between nodes."""


class ClusterSettings(Section, frozen=True):
    """What all nodes of a cluster must agree on."""

    id: str = "dynafs"
    """Name of the cluster. A node of another cluster is refused."""
    secret: str = ""
    """Shared secret by which nodes prove themselves, at least 16 bytes. Or DYNAFS_CLUSTER_SECRET in the environment."""
    n: Copies = 3
    """Copies of every file record and chunk."""
    partitions: Annotated[int, Meta(ge=1, le=PARTITION_COUNT_MAX)] = 1024
    """Slices of the hash space: a power of two up to 65536. Fixed for the life of the cluster."""
    members: tuple[MemberSettings, ...] = ()
    """The nodes that the cluster is founded with, in the same order everywhere. Later ones join: dynafs ring stage."""
    seeds: tuple[str, ...] = ()
    """HOST:PORT of some nodes, by which one that is to join finds all. It needs no members, n, r, w or partitions then:
    it takes those of the cluster."""
    r: Copies = 2
    """Owners a read asks, unless the bucket says otherwise. r + w must be above n."""
    w: Copies = 2
    """Owners that must hold a write before it is acknowledged, unless the bucket says otherwise."""
    chunk_size_bytes: Annotated[int, Meta(ge=CHUNK_SIZE_BYTES_MIN, le=CHUNK_SIZE_BYTES_MAX)] = MIB
    """Size of a chunk in new buckets: a power of two from 64 KiB to 16 MiB."""
    inline_limit_bytes: Annotated[int, Meta(ge=0, le=64 * KIB)] = 64 * KIB
    """Files up to this size live in their record instead of in chunks; 0 to 64 KiB."""
    max_clock_skew_ms: Annotated[int, Meta(ge=1, le=DAY_S * 1000)] = 60_000
    """A write stamped further in the future than this is refused. Shorter finds bad clocks sooner."""


class HttpSettings(Section, frozen=True):
    """The HTTP interface."""

    listen: str = "127.0.0.1:8080"
    """HOST:PORT. Anything but a loopback address needs a token or insecure = true."""
    shared_listen: str = ""
    """HOST:PORT that several nodes of one machine listen on together, each besides its own: the kernel spreads clients
    over them. All of them need the same host here. Empty: none."""
    advertise: str = ""
    """HOST:PORT where clients reach this node, when it is not `listen`: behind a translated address or another port.
    Clients that send requests to the owners of a file use it."""
    token: str = ""
    """Bearer token clients must send. Or DYNAFS_HTTP_TOKEN in the environment."""
    insecure: bool = False
    """Serve a public address without a token: everyone who reaches it can read and delete everything."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names besides the listen address that browsers may use to reach a node without a token."""
    header_size_bytes_max: Annotated[int, Meta(ge=KIB, le=MIB)] = 16 * KIB
    """Longest single request header or request line."""
    headers_total_size_bytes_max: Annotated[int, Meta(ge=KIB, le=16 * MIB)] = 32 * KIB
    """All headers of one request together."""
    headers_pending_size_bytes_max: Annotated[int, Meta(ge=64 * KIB, le=1024 * MIB)] = 16 * MIB
    """Headers of all requests whose headers are not complete yet. At the limit the oldest such connection is closed."""
    header_timeout_s: Seconds = 10.0
    """How long a client may take from the first byte of a request to the end of its headers."""
    idle_timeout_s: Seconds = 75.0
    """How long a connection may sit between requests."""
    body_stall_timeout_s: Seconds = 60.0
    """How long an upload may send nothing, or a download take nothing, before it is given up."""
    body_rate_bytes_per_s_min: Annotated[int, Meta(ge=1, le=1 << 30)] = 16 * KIB
    """Least rate of an upload or a download, while the node waits for the client."""
    body_rate_window_s: Seconds = 30.0
    """A client is given up when it is this far behind the least rate; also one that sends or takes nothing for so long.
    When other clients wait for memory, it is given up sooner."""
    connections_max: Count = 4096
    """Client connections at once. A further one replaces the oldest one without a request, and gets 503 when all have
    one."""
    connections_per_address_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    """Client connections from one address (IPv6: one /64) at once; 0: no limit. Loopback addresses have none. Set 0
    when a reverse proxy on another machine connects for all clients."""


class StorageSettings(Section, frozen=True):
    """The disk."""

    durability: Literal["fsync", "os"] = "fsync"
    """"fsync": acknowledged means on the medium. "os": in the page cache; a power cut may lose the last seconds."""
    segment_size_bytes_max: Annotated[int, Meta(ge=64 * KIB, le=1 << 40)] = 256 * MIB
    """A segment file is closed when it reaches this size."""
    soft_mark: Share = 0.90
    """Share of the disk in use from which nothing is kept for other nodes any more."""
    hard_mark: Share = 0.95
    """Share from which no new contents are taken (507); deletes go on, and compaction uses the rest."""
    reserve_mark: Share = 0.98
    """Share from which only what frees space is written."""
    cache_size_bytes: Annotated[int, Meta(ge=64 * KIB, le=1 << 40)] = 32 * MIB
    """RocksDB block cache."""
    write_buffer_size_bytes: Annotated[int, Meta(ge=64 * KIB, le=1 << 40)] = 32 * MIB
    """RocksDB memory tables, all together."""


class LimitSettings(Section, frozen=True):
    """What keeps memory and queues bounded. The four byte budgets add up to the most a node holds in flight."""

    upload_seat_bytes: Budget = 80 * MIB
    """Bytes of chunks that clients are sending. Uploads for which there is no room wait, then get 503."""
    upload_send_bytes: Budget = 40 * MIB
    """Chunks on their way from clients to owners."""
    download_bytes: Budget = 40 * MIB
    """Chunks on their way to clients."""
    receive_bytes: Budget = 40 * MIB
    """Chunks received from peers and not yet on disk."""
    admission_timeout_s: Seconds = 10.0
    """How long a request waits for its place in a budget before it gets 503 with Retry-After."""
    upload_chunks_in_flight: Annotated[int, Meta(ge=1, le=1024)] = 8
    """Chunks of one upload that may be on their way at once."""
    download_chunks_ahead: Annotated[int, Meta(ge=1, le=1024)] = 2
    """Chunks of one download that are fetched ahead of the client."""
    listing_rows_max: Count = 1000
    """Most rows of one listing page."""
    multipart_files_max: Count = 1000
    """Most files in one multipart upload."""
    peer_calls_max: Count = 1024
    """Calls under way on one connection to a peer."""


class TimeoutSettings(Section, frozen=True):
    """How long to wait."""

    request_s: Seconds = 4.0
    """Deadline of one quorum operation (a record or one chunk, not a whole file)."""
    connect_s: Seconds = 2.0
    """Opening and proving a connection to a peer."""
    ping_interval_s: Seconds = 1.0
    """Silence on a connection before it is asked for a sign of life."""
    ping_timeout_s: Seconds = 2.0
    """Silence after that before it is closed and the peer counts as down."""
    reconnect_min_s: Seconds = 0.05
    """First pause before connecting again; doubles, with jitter, up to reconnect_max_s."""
    reconnect_max_s: Seconds = 1.0
    """Longest pause before connecting again."""
    hedge_min_ms: Annotated[float, Meta(ge=0.1, le=DAY_S * 1000)] = 20.0
    """Least time before a slow read is sent to a second owner too; otherwise the 95th percentile of recent reads."""
    drain_s: Seconds = 5.0
    """How long a node that is told to stop may hand over what it keeps for others that are up, before it stops."""
    shutdown_s: Seconds = 10.0
    """How long requests under way may take to finish when the node stops."""


class HealingSettings(Section, frozen=True):
    """Bringing copies together again without anybody reading them."""

    handoff_interval_s: Period = 60.0
    """How often a node looks whether it can hand over what it keeps for others; at once when one came up."""
    hint_age_s: Period = 3 * 3600.0
    """How long it keeps something for a node that is away; after that anti-entropy brings the node up to date."""
    hints_size_bytes_max: Annotated[int, Meta(ge=1, le=1 << 50)] = 1024 * MIB
    """How much it keeps for others; what is more is left to anti-entropy as well."""
    anti_entropy_interval_s: Period = 600.0
    """How often a node compares what it holds with every other owner, by trees of checksums."""
    anti_entropy_after_return_s: Period = 5.0
    """How soon it does so when a peer came up."""
    tree_rebuild_interval_s: Period = 7 * 86_400.0
    """How often the trees are counted again from what is stored."""
    walk_interval_s: Period = 6 * 3600.0
    """How often a node goes through all its records: confirms chunks at their owners, forgets old deletes."""
    scrub_period_s: Period = 30 * 86_400.0
    """Within this time a node reads every chunk it stores and checks it; a small store is done sooner."""
    collection_interval_s: Period = 600.0
    """How often a node looks for chunks that no version uses any more."""
    reference_age_s: Period = 86_400.0
    """Nobody confirmed for this long that a chunk is in use: all nodes that may know are asked."""
    collection_grace_s: Period = 3600.0
    """How long nobody may know of a chunk's upload, from one asking to the next, before the chunk goes."""
    tombstone_grace_s: Period = 7 * 86_400.0
    """How long a delete is remembered at least; after that it is forgotten as soon as every owner has heard of it."""
    compaction_interval_s: Period = 3600.0
    """How often segments that are mostly dead are written anew."""


class LogSettings(Section, frozen=True):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written. "debug" adds a line per request."""
    format: Literal["auto", "console", "json"] = "auto"
    """"auto": console on a terminal, JSON lines otherwise."""


class Settings(Section, frozen=True):
    """Everything a node is told."""

    node: NodeSettings
    cluster: ClusterSettings
    http: HttpSettings = HttpSettings()
    storage: StorageSettings = StorageSettings()
    limits: LimitSettings = LimitSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    healing: HealingSettings = HealingSettings()
    log: LogSettings = LogSettings()

    @property
    def me(self) -> MemberSettings:
        """This node's entry in cluster.members."""
        return next(m for m in self.cluster.members if m.node == self.node.name)

    @property
    def peer_listen(self) -> str:
        """HOST:PORT to listen on for peers."""
        return self.node.listen or self.me.address

    @property
    def bucket_policy(self) -> BucketPolicy:
        """Policy of buckets that are made by their first PUT."""
        c = self.cluster
        return BucketPolicy(r=c.r, w=c.w, chunk_size_bytes=c.chunk_size_bytes)
