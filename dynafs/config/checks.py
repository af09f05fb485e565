"""Settings judged as a whole: ranges of numbers, names, addresses, and what must fit together."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, get_args, get_origin

import msgspec
from msgspec import Meta

from dynafs.config.addresses import is_loopback, is_unspecified, split_address
from dynafs.config.problems import Problems
from dynafs.config.sections import Section, Settings
from dynafs.errors import PolicyRefused, RequestInvalid
from dynafs.quorum.policy import QuorumPolicy
from dynafs.ring.keyspace import PARTITION_COUNT_MAX
from dynafs.ring.names import checked_address, checked_label, checked_node, excerpt, is_address, is_host

SECRET_SIZE_BYTES_MIN = 16
#: With it a request fits into the smallest limits for headers that can be set.
TOKEN_LENGTH_MAX = 512


def check_settings(settings: Settings) -> None:
    """Raise ConfigError with every problem found, or return."""
    problems = Problems()
    check_sections(settings, problems)
    problems.raise_if_any()


def check_sections(settings: Settings, problems: Problems) -> None:
    """Note every problem found."""
    for field, value, limits in ranged_numbers(settings):
        if not _is_within(value, limits):
            problems.add(field, f"use {limits.ge:.15g} to {limits.le:.15g}, not {value:.15g}")
    for check in (_check_names, _check_secrets, _check_addresses, _check_cluster, _check_access, _check_limits):
        check(settings, problems)


def ranged_numbers(section: Section, path: str = "") -> Iterator[tuple[str, float, Meta]]:
    """Yield (field, value, range) of every number in a section and those below it."""
    for info in msgspec.structs.fields(section):
        where, value = f"{path}.{info.name}".lstrip("."), getattr(section, info.name)
        if isinstance(value, Section):
            yield from ranged_numbers(value, where)
        elif isinstance(value, tuple):
            for number, item in enumerate(value, 1):
                if isinstance(item, Section):
                    yield from ranged_numbers(item, f"{where} {number}")
        elif get_origin(info.type) is Annotated:
            yield where, value, get_args(info.type)[1]


def _is_within(value: float, limits: Meta) -> bool:
    # Not a number is not within anything.
    return bool(limits.ge is not None and limits.le is not None and limits.ge <= value <= limits.le)


def _check_names(settings: Settings, problems: Problems) -> None:
    node, cluster = settings.node, settings.cluster
    if node.name:
        problems.check("node.name", checked_node, node.name)
    problems.check("node.zone", checked_label, node.zone)
    problems.check("cluster.id", checked_label, cluster.id)
    if not node.data_dir or not node.data_dir.isprintable():
        problems.add("node.data_dir", f"name a directory, not {excerpt(node.data_dir)}")
    for number, member in enumerate(cluster.members, 1):
        problems.check(f"cluster.members {number}.node", checked_node, member.node)
        problems.check(f"cluster.members {number}.zone", checked_label, member.zone)
    for host in settings.http.allowed_hosts:
        bare = f"[{host}]" if ":" in host and not host.startswith("[") else host
        if not is_host(bare):
            problems.add("http.allowed_hosts", f"{excerpt(host)} is no host name; list names without scheme and port")
    for field, values in (("http.allowed_hosts", settings.http.allowed_hosts), ("cluster.seeds", cluster.seeds)):
        if twice := _repeated(value.lower() for value in values):
            problems.add(field, f"{', '.join(map(excerpt, twice))} is listed twice")


def _check_secrets(settings: Settings, problems: Problems) -> None:
    secret, token = settings.cluster.secret, settings.http.token
    for field, value, variable in (
        ("cluster.secret", secret, "DYNAFS_CLUSTER_SECRET"),
        ("http.token", token, "DYNAFS_HTTP_TOKEN"),
    ):
        if value != value.strip() or not value.isprintable():
            problems.add(field, f"begins or ends with a space, or has a control character; look at {variable}, too")
    if secret.isprintable() and len(secret.encode()) < SECRET_SIZE_BYTES_MIN:
        problems.add(
            "cluster.secret",
            f"needs at least {SECRET_SIZE_BYTES_MIN} bytes; set it or DYNAFS_CLUSTER_SECRET "
            "(for example to the output of: openssl rand -hex 32)",
        )
    if " " in token or not token.isascii():
        problems.add("http.token", "use visible ASCII characters without spaces: it is sent in a header")
    if len(token) > TOKEN_LENGTH_MAX:
        problems.add("http.token", f"use at most {TOKEN_LENGTH_MAX} characters: it is sent in a header")
    if token and token == secret:
        problems.add("http.token", "must not be the cluster.secret: clients would get the key of the nodes")


def _check_addresses(settings: Settings, problems: Problems) -> None:
    node, http, cluster = settings.node, settings.http, settings.cluster
    addresses = {"http.listen": http.listen}
    addresses |= {f"cluster.members {number}.address": m.address for number, m in enumerate(cluster.members, 1)}
    addresses |= {f"cluster.seeds {number}": seed for number, seed in enumerate(cluster.seeds, 1)}
    addresses |= {field: value for field, value in _optional_addresses(settings) if value}
    for field, address in addresses.items():
        if problems.check(field, checked_address, address) and field.startswith(("cluster.", "http.advertise")):
            _check_callable(field, address, problems)
    if twice := _repeated(member.address.lower() for member in cluster.members):
        problems.add("cluster.members", f"two members have the same address: {', '.join(map(excerpt, twice))}")
    if http.shared_listen == http.listen:
        problems.add("http.shared_listen", "must be another address than http.listen, which is of this node alone")
    peers = node.listen or next((m.address for m in cluster.members if m.node == node.name), "")
    if peers == http.listen:
        problems.add("http.listen", f"{excerpt(peers)} is where peers call; clients need another port")
    if node.gossip_port and is_address(peers) and split_address(peers)[1] == node.gossip_port:
        problems.add("node.gossip_port", f"{node.gossip_port} is the port where peers call; gossip needs another one")


def _check_callable(field: str, address: str, problems: Problems) -> None:
    if is_unspecified(address):
        problems.add(field, f"{address} is no place to call; name the node's host; only listen can be {address}")


def _optional_addresses(settings: Settings) -> tuple[tuple[str, str], ...]:
    node, http = settings.node, settings.http
    return (
        ("node.listen", node.listen), ("http.shared_listen", http.shared_listen), ("http.advertise", http.advertise),
    )  # fmt: skip


def _check_cluster(settings: Settings, problems: Problems) -> None:
    cluster, names = settings.cluster, [m.node for m in settings.cluster.members]
    if settings.node.name not in names and not settings.node.listen:
        problems.add(
            "node.name",
            f"{excerpt(settings.node.name)} is not among cluster.members {names}; a node that is to join them "
            "needs node.listen, the HOST:PORT where they reach it",
        )
    if twice := _repeated(names):
        problems.add("cluster.members", f"two members have the same node name: {', '.join(map(excerpt, twice))}")
    if not names and not cluster.seeds:
        problems.add("cluster.members", "list the nodes to found a cluster with, or cluster.seeds of one to join")
    if names and cluster.n > len(names):
        problems.add("cluster.n", f"{cluster.n} copies need {cluster.n} members, {len(names)} are listed")
    if cluster.partitions & (cluster.partitions - 1):
        problems.add("cluster.partitions", f"use a power of two up to {PARTITION_COUNT_MAX}, not {cluster.partitions}")
    for check in (QuorumPolicy(cluster.n, cluster.r, cluster.w).check, settings.bucket_policy.check):
        try:
            check()
        except (PolicyRefused, RequestInvalid) as error:
            field, _, text = error.message.partition(": ")
            problems.add(f"cluster.{field}", text)


def _check_access(settings: Settings, problems: Problems) -> None:
    """A node that other machines reach needs a token."""
    http = settings.http
    if http.token or http.insecure:
        return
    for field, address in (("listen", http.listen), ("shared_listen", http.shared_listen)):
        if is_address(address) and not is_loopback(address):
            problems.add(
                f"http.{field}",
                f"{address} can be reached from other machines; set http.token (or DYNAFS_HTTP_TOKEN), listen on "
                "127.0.0.1, or start with --insecure",
            )


def _check_limits(settings: Settings, problems: Problems) -> None:
    limits, chunk = settings.limits, settings.cluster.chunk_size_bytes
    for field in ("upload_seat_bytes", "upload_send_bytes", "download_bytes", "receive_bytes"):
        if getattr(limits, field) < chunk:
            problems.add(f"limits.{field}", f"must hold at least one chunk of {chunk} bytes")
    http = settings.http
    if http.headers_pending_size_bytes_max < http.headers_total_size_bytes_max:
        problems.add(
            "http.headers_pending_size_bytes_max",
            f"must hold the headers of one request, {http.headers_total_size_bytes_max} bytes",
        )
    storage, timeouts = settings.storage, settings.timeouts
    if not storage.soft_mark <= storage.hard_mark <= storage.reserve_mark:
        problems.add("storage.soft_mark", "soft_mark, hard_mark and reserve_mark must rise in this order")
    if timeouts.reconnect_min_s > timeouts.reconnect_max_s:
        problems.add("timeouts.reconnect_min_s", "must not be above reconnect_max_s")


def _repeated(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if value and count > 1]
