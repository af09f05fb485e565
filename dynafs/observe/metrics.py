"""Metrics in Prometheus form. Plain counters of the process; one node is one process."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
#: Methods that are counted by name; clients may send any others.
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class HttpRequests(Collector):
    """Counts client requests in plain numbers, which become metrics when they are asked for: labels and histograms of
    the library cost a small request a twentieth of its time."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], int] = {}
        #: {method: (requests per bucket of _SECONDS and above, seconds of all)}
        self._seconds: dict[str, tuple[list[int], list[float]]] = {}

    def add(self, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        if method not in _METHODS:
            method = "other"
        self._counts[method, status] = self._counts.get((method, status), 0) + 1
        known = self._seconds.get(method)
        if known is None:
            known = self._seconds[method] = ([0] * (len(_SECONDS) + 1), [0.0])
        known[0][bisect_left(_SECONDS, seconds)] += 1
        known[1][0] += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted."""
        counts = CounterMetricFamily("dynafs_http_requests", "Client requests answered", labels=["method", "status"])
        for (method, status), count in self._counts.items():
            counts.add_metric([method, str(status)], count)
        yield counts
        times = HistogramMetricFamily(
            "dynafs_http_request_seconds", "Time from request to the last byte", labels=["method"]
        )
        bounds = [*(str(float(bound)) for bound in _SECONDS), "+Inf"]
        for method, (buckets, total) in self._seconds.items():
            times.add_metric([method], list(zip(bounds, accumulate(buckets), strict=True)), total[0])
        yield times


http = HttpRequests()
REGISTRY.register(http)
http_connections = Gauge("dynafs_http_connections", "Open client connections", registry=REGISTRY)
http_connections_refused = Counter(
    "dynafs_http_connections_refused", "Client connections refused at a limit", ["limit"], registry=REGISTRY
)
http_connections_dropped = Counter(
    "dynafs_http_connections_dropped", "Client connections closed before their client was done", ["reason"],
    registry=REGISTRY,
)  # fmt: skip
quorum_lost = Counter("dynafs_quorum_lost", "Operations that lost their quorum", ["operation"], registry=REGISTRY)
hedges = Counter(
    "dynafs_hedges", "Slow reads that were sent to a further owner, or were not", ["outcome"], registry=REGISTRY
)
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
