"""Metrics in Prometheus form. Plain counters of the process; one node is one process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

http_requests = Counter("dynafs_http_requests", "Client requests answered", ["method", "status"], registry=REGISTRY)
http_seconds = Histogram(
    "dynafs_http_request_seconds",
    "Time from request to the last byte",
    ["method"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
http_connections = Gauge("dynafs_http_connections", "Open client connections", registry=REGISTRY)
http_connections_refused = Counter(
    "dynafs_http_connections_refused", "Client connections refused at a limit", ["limit"], registry=REGISTRY
)
http_connections_dropped = Counter(
    "dynafs_http_connections_dropped", "Client connections closed before their client was done", ["reason"],
    registry=REGISTRY,
)  # fmt: skip
quorum_lost = Counter("dynafs_quorum_lost", "Operations that lost their quorum", ["operation"], registry=REGISTRY)
records_repaired = Counter("dynafs_records_repaired", "Stale owners brought up to date by reads", registry=REGISTRY)
chunks_repaired = Counter("dynafs_chunks_repaired", "Copies given to owners that lacked a good one", registry=REGISTRY)
chunks_quarantined = Counter("dynafs_chunks_quarantined", "Copies found corrupt on this disk", registry=REGISTRY)
chunks_collected = Counter("dynafs_chunks_collected", "Chunks removed because nothing used them", registry=REGISTRY)
tombstones_reaped = Counter("dynafs_tombstones_reaped", "Deletes that every owner forgot", registry=REGISTRY)
peers_up = Gauge("dynafs_peers_up", "Peers with a standing connection", registry=REGISTRY)
peers_refused = Counter("dynafs_peers_refused", "Connections turned away", registry=REGISTRY)
bytes_in_flight = Gauge("dynafs_bytes_in_flight", "Bytes held by a budget", ["budget"], registry=REGISTRY)
disk_bytes = Gauge("dynafs_disk_bytes", "The data directory's file system", ["what"], registry=REGISTRY)
job_failures = Counter(
    "dynafs_job_failures", "Runs of background jobs that ended with an error", ["job", "code"], registry=REGISTRY
)
task_failures = Counter("dynafs_task_failures", "Bugs that ended a task or a round of it", ["task"], registry=REGISTRY)
commits = Counter("dynafs_commits", "Group commits", ["lane"], registry=REGISTRY)
commit_writes = Counter("dynafs_commit_writes", "Writes covered by group commits", ["lane"], registry=REGISTRY)


def render() -> bytes:
    """Return the exposition text."""
    return generate_latest(REGISTRY)
