"""Settings: typed, frozen, checked as a whole. The only module that reads TOML.

Every field has its unit in its name and a default that suits three nodes on ordinary machines. `configs/node.toml`
shows them all. Unknown keys are errors, and every problem is reported at once.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from dynafs.errors import ConfigError, PolicyRefused, RequestInvalid
from dynafs.files.policy import KIB, MIB, BucketPolicy
from dynafs.quorum.policy import QuorumPolicy
from dynafs.ring.keyspace import PARTITION_COUNT_MAX

SECRET_SIZE_BYTES_MIN = 16


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


class MemberSettings(Section, frozen=True):
    """One node of the cluster, as every node's settings list it."""

    node: str
    """Name, unique in the cluster: 1 to 63 of a-z A-Z 0-9 . _ -"""
    address: str
    """HOST:PORT where its peers reach it; a host name is resolved again at every connection."""
    zone: str = "default"
    """Failure domain (host, rack, site). Copies go to distinct zones while there are enough."""
    weight: float = 1.0
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
    gossip_port: int = 0
    """TCP and UDP port for gossip about who is alive, on the host of `listen`. 0: any that is free; choose one where a
    firewall stands between nodes."""


class ClusterSettings(Section, frozen=True):
    """What all nodes of a cluster must agree on."""

    id: str = "dynafs"
    """Name of the cluster. A node of another cluster is refused."""
    secret: str = ""
    """Shared secret by which nodes prove themselves, at least 16 bytes. Or DYNAFS_CLUSTER_SECRET in the environment."""
    n: int = 3
    """Copies of every file record and chunk."""
    partitions: int = 1024
    """Slices of the hash space: a power of two up to 65536. Fixed for the life of the cluster."""
    members: tuple[MemberSettings, ...] = ()
    """The nodes that the cluster is founded with, in the same order everywhere. Later ones join: dynafs ring stage."""
    seeds: tuple[str, ...] = ()
    """HOST:PORT of some nodes, by which one that is to join finds all. It needs no members, n, r, w or partitions then:
    it takes those of the cluster."""
    r: int = 2
    """Owners a read asks, unless the bucket says otherwise. r + w must be above n."""
    w: int = 2
    """Owners that must hold a write before it is acknowledged, unless the bucket says otherwise."""
    chunk_size_bytes: int = MIB
    """Size of a chunk in new buckets: a power of two from 64 KiB to 16 MiB."""
    inline_limit_bytes: int = 64 * KIB
    """Files up to this size live in their record instead of in chunks; 0 to 64 KiB."""
    max_clock_skew_ms: int = 60_000
    """A write stamped further in the future than this is refused. Shorter finds bad clocks sooner."""


class HttpSettings(Section, frozen=True):
    """The HTTP interface."""

    listen: str = "127.0.0.1:8080"
    """HOST:PORT. Anything but a loopback address needs a token or insecure = true."""
    shared_listen: str = ""
    """HOST:PORT that several nodes of one machine listen on together, each besides its own: the kernel spreads clients
    over them. All of them need the same host here. Empty: none."""
    token: str = ""
    """Bearer token clients must send. Or DYNAFS_HTTP_TOKEN in the environment."""
    insecure: bool = False
    """Serve a public address without a token: everyone who reaches it can read and delete everything."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names besides the listen address that browsers may use to reach a node without a token."""
    header_size_bytes_max: int = 16 * KIB
    """Longest single request header or request line."""
    headers_total_size_bytes_max: int = 32 * KIB
    """All headers of one request together."""
    headers_pending_size_bytes_max: int = 16 * MIB
    """Headers of all requests whose headers are not complete yet. At the limit the oldest such connection is closed."""
    header_timeout_s: float = 10.0
    """How long a client may take from the first byte of a request to the end of its headers."""
    idle_timeout_s: float = 75.0
    """How long a connection may sit between requests."""
    body_stall_timeout_s: float = 60.0
    """How long an upload may send nothing before it is given up."""
    connections_max: int = 4096
    """Client connections at once. A further one replaces the oldest one without a request, and gets 503 when all have
    one."""
    connections_per_address_max: int = 1024
    """Client connections from one address (IPv6: one /64) at once; 0: no limit. Loopback addresses have none. Set 0
    when a reverse proxy on another machine connects for all clients."""


class StorageSettings(Section, frozen=True):
    """The disk."""

    durability: Literal["fsync", "os"] = "fsync"
    """"fsync": acknowledged means on the medium. "os": in the page cache; a power cut may lose the last seconds."""
    segment_size_bytes_max: int = 256 * MIB
    """A segment file is closed when it reaches this size."""
    soft_mark: float = 0.90
    """Share of the disk in use from which nothing is kept for other nodes any more."""
    hard_mark: float = 0.95
    """Share from which no new contents are taken (507); deletes go on, and compaction uses the rest."""
    reserve_mark: float = 0.98
    """Share from which only what frees space is written."""
    cache_size_bytes: int = 32 * MIB
    """RocksDB block cache."""
    write_buffer_size_bytes: int = 32 * MIB
    """RocksDB memory tables, all together."""


class LimitSettings(Section, frozen=True):
    """What keeps memory and queues bounded. The four byte budgets add up to the most a node holds in flight."""

    upload_seat_bytes: int = 80 * MIB
    """Chunk buffers being filled by clients, one per upload. Further uploads wait, then get 503."""
    upload_send_bytes: int = 40 * MIB
    """Chunks on their way from clients to owners."""
    download_bytes: int = 40 * MIB
    """Chunks on their way to clients."""
    receive_bytes: int = 40 * MIB
    """Chunks received from peers and not yet on disk."""
    admission_timeout_s: float = 10.0
    """How long a request waits for its place in a budget before it gets 503 with Retry-After."""
    upload_chunks_in_flight: int = 8
    """Chunks of one upload that may be on their way at once."""
    download_chunks_ahead: int = 2
    """Chunks of one download that are fetched ahead of the client."""
    listing_rows_max: int = 1000
    """Most rows of one listing page."""
    multipart_files_max: int = 1000
    """Most files in one multipart upload."""
    peer_calls_max: int = 1024
    """Calls under way on one connection to a peer."""


class TimeoutSettings(Section, frozen=True):
    """How long to wait."""

    request_s: float = 4.0
    """Deadline of one quorum operation (a record or one chunk, not a whole file)."""
    connect_s: float = 2.0
    """Opening and proving a connection to a peer."""
    ping_interval_s: float = 1.0
    """Silence on a connection before it is asked for a sign of life."""
    ping_timeout_s: float = 2.0
    """Silence after that before it is closed and the peer counts as down."""
    reconnect_min_s: float = 0.05
    """First pause before connecting again; doubles, with jitter, up to reconnect_max_s."""
    reconnect_max_s: float = 1.0
    """Longest pause before connecting again."""
    hedge_min_ms: float = 20.0
    """Least time before a slow read is sent to a second owner too; otherwise the 95th percentile of recent reads."""
    drain_s: float = 5.0
    """How long a node that is told to stop may hand over what it keeps for others that are up, before it stops."""
    shutdown_s: float = 10.0
    """How long requests under way may take to finish when the node stops."""


class HealingSettings(Section, frozen=True):
    """Bringing copies together again without anybody reading them."""

    handoff_interval_s: float = 60.0
    """How often a node looks whether it can hand over what it keeps for others; at once when one came up."""
    hint_age_s: float = 3 * 3600.0
    """How long it keeps something for a node that is away; after that anti-entropy brings the node up to date."""
    hints_size_bytes_max: int = 1024 * MIB
    """How much it keeps for others; what is more is left to anti-entropy as well."""
    anti_entropy_interval_s: float = 600.0
    """How often a node compares what it holds with every other owner, by trees of checksums."""
    anti_entropy_after_return_s: float = 5.0
    """How soon it does so when a peer came up."""
    tree_rebuild_interval_s: float = 7 * 86_400.0
    """How often the trees are counted again from what is stored."""
    walk_interval_s: float = 6 * 3600.0
    """How often a node goes through all its records: confirms chunks at their owners, forgets old deletes."""
    scrub_period_s: float = 30 * 86_400.0
    """Within this time a node reads every chunk it stores and checks it; a small store is done sooner."""
    collection_interval_s: float = 600.0
    """How often a node looks for chunks that no version uses any more."""
    reference_age_s: float = 86_400.0
    """Nobody confirmed for this long that a chunk is in use: all nodes that may know are asked."""
    collection_grace_s: float = 3600.0
    """How long nobody may know of a chunk's upload, from one asking to the next, before the chunk goes."""
    tombstone_grace_s: float = 7 * 86_400.0
    """How long a delete is remembered at least; after that it is forgotten as soon as every owner has heard of it."""
    compaction_interval_s: float = 3600.0
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


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Return the checked settings of a TOML file; secrets in `environment` override the file's.

    Raises ConfigError listing every problem with its field.
    """
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None
    if (secret := environment.get("DYNAFS_CLUSTER_SECRET")) and isinstance(raw.get("cluster"), dict):
        raw["cluster"]["secret"] = secret
    if token := environment.get("DYNAFS_HTTP_TOKEN"):
        raw["http"] = {**raw.get("http", {}), "token": token}
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError([f"{path}: {error}"]) from None
    check_settings(settings)
    return settings


def check_settings(settings: Settings) -> None:
    """Raise ConfigError with every problem found, or return."""
    problems = [*_cluster_problems(settings), *_listen_problems(settings), *_limit_problems(settings)]
    if problems:
        raise ConfigError(problems)


def _cluster_problems(settings: Settings) -> list[str]:
    cluster, names = settings.cluster, [m.node for m in settings.cluster.members]
    problems = []
    if settings.node.name not in names and not settings.node.listen:
        problems.append(
            f"node.name: {settings.node.name!r} is not among cluster.members {names}; a node that is to join them "
            "needs node.listen, the HOST:PORT where they reach it"
        )
    if len(set(names)) != len(names):
        problems.append("cluster.members: two members have the same node name")
    if not names and not cluster.seeds:
        problems.append("cluster.members: list the nodes to found a cluster with, or cluster.seeds of one to join")
    if names and not 1 <= cluster.n <= len(names):
        problems.append(f"cluster.n: {cluster.n} copies need {cluster.n} members, {len(names)} are listed")
    if len(cluster.secret.encode()) < SECRET_SIZE_BYTES_MIN:
        problems.append(
            f"cluster.secret: needs at least {SECRET_SIZE_BYTES_MIN} bytes; set it or DYNAFS_CLUSTER_SECRET "
            "(for example to the output of: openssl rand -hex 32)"
        )
    count = cluster.partitions
    if not 1 <= count <= PARTITION_COUNT_MAX or count & (count - 1):
        problems.append(f"cluster.partitions: use a power of two up to {PARTITION_COUNT_MAX}, not {count}")
    if not 0 <= cluster.inline_limit_bytes <= 64 * KIB:
        problems.append("cluster.inline_limit_bytes: use 0 to 65536")
    problems += [
        f"cluster.members: the weight of {m.node} must be above 0" for m in cluster.members if not m.weight > 0
    ]
    for check in (QuorumPolicy(cluster.n, cluster.r, cluster.w).check, settings.bucket_policy.check):
        try:
            check()
        except (PolicyRefused, RequestInvalid) as error:
            problems.append(f"cluster.{error.message}")
    return problems


def _listen_problems(settings: Settings) -> list[str]:
    problems = []
    addresses = {
        "http.listen": settings.http.listen,
        **{f"address of {m.node}": m.address for m in settings.cluster.members},
    }
    addresses |= {f"cluster.seeds {number}": seed for number, seed in enumerate(settings.cluster.seeds, 1)}
    if not 0 <= settings.node.gossip_port <= 65535:
        problems.append("node.gossip_port: use 0 to 65535")
    if settings.node.listen:
        addresses["node.listen"] = settings.node.listen
    if settings.http.shared_listen:
        addresses["http.shared_listen"] = settings.http.shared_listen
    for field, address in addresses.items():
        try:
            split_address(address)
        except ValueError as error:
            problems.append(f"{field}: {error}")
    if problems or settings.http.token or settings.http.insecure:
        return problems
    return [
        f"http.{field}: {address} can be reached from other machines; set http.token (or DYNAFS_HTTP_TOKEN), listen on "
        "127.0.0.1, or start with --insecure"
        for field in ("listen", "shared_listen")
        if (address := getattr(settings.http, field)) and not is_loopback(address)
    ]


def _limit_problems(settings: Settings) -> list[str]:
    limits, chunk = settings.limits, settings.cluster.chunk_size_bytes
    budgets = ("upload_seat_bytes", "upload_send_bytes", "download_bytes", "receive_bytes")
    small = [field for field in budgets if getattr(limits, field) < chunk]
    problems = [f"limits.{field}: must hold at least one chunk of {chunk} bytes" for field in small]
    storage = settings.storage
    if not storage.soft_mark <= storage.hard_mark <= storage.reserve_mark <= 1:
        problems.append("storage.soft_mark, hard_mark, reserve_mark: use rising shares of the disk up to 1")
    for section in (limits, settings.timeouts, settings.storage, settings.healing):
        for field in section.__struct_fields__:
            value = getattr(section, field)
            if isinstance(value, int | float) and value <= 0:
                problems.append(f"{field}: must be above 0, not {value}")
    return problems


def split_address(address: str) -> tuple[str, int]:
    """Return (host, port) of HOST:PORT or [IPv6]:PORT; raise ValueError otherwise."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def joined(host: str, port: int) -> str:
    """Return HOST:PORT or [IPv6]:PORT."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Return whether HOST:PORT can only be reached from this machine."""
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"
