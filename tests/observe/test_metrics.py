"""Metrics as Prometheus reads them."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dynafs.observe.metrics import HttpRequests


def test_requests_become_a_counter_and_a_histogram() -> None:
    """Buckets are cumulative, and the last one has all."""
    requests, registry = HttpRequests(), CollectorRegistry()
    registry.register(requests)
    for status, seconds in ((200, 0.0005), (200, 0.001), (404, 0.3), (200, 60.0)):
        requests.add("GET", status, seconds)
    requests.add("PUT", 201, 0.02)
    for number in range(100):
        requests.add(f"METHOD{number}", 405, 0.001)
    samples = {
        (one.name, *sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for one in family.samples
    }
    assert samples["dynafs_http_requests_total", ("method", "GET"), ("status", "200")] == 3
    assert samples["dynafs_http_requests_total", ("method", "GET"), ("status", "404")] == 1
    assert samples["dynafs_http_requests_total", ("method", "other"), ("status", "405")] == 100
    assert len([one for one in samples if one[0] == "dynafs_http_requests_total"]) == 4

    def up_to(bound: str) -> float:
        return samples["dynafs_http_request_seconds_bucket", ("le", bound), ("method", "GET")]

    assert [up_to(bound) for bound in ("0.001", "0.25", "0.5", "5.0", "+Inf")] == [2, 2, 3, 3, 4]
    assert samples["dynafs_http_request_seconds_count", ("method", "GET")] == 4
    assert samples["dynafs_http_request_seconds_sum", ("method", "PUT")] == 0.02
