"""Errors of quorums: too few nodes store, reply or agree."""

from collections.abc import Mapping, Sequence

from dynafs.errors.root import DynafsError


class QuorumError(DynafsError):
    """Fewer nodes answered well than the request needs. `failures` is {node: code}."""

    retryable = True

    def __init__(self, message: str, needed: int, answered: Sequence[str], failures: Mapping[str, str]) -> None:
        self.needed, self.answered, self.failures = needed, list(answered), dict(failures)
        told = ", ".join(f"{node}: {code}" for node, code in self.failures.items()) or "none failed"
        super().__init__(
            f"{message}: needed {needed} nodes, {len(self.answered)} answered ({told})",
            needed=needed, answered=self.answered, failures=self.failures,
        )  # fmt: skip


class WriteQuorumLost(QuorumError):
    """Fewer than W nodes confirmed. The write may or may not survive: `outcome` is "unknown"
    once the record was offered to any node, "not_written" while only invisible chunks were."""

    code = "write_quorum_lost"

    def __init__(
        self, needed: int, answered: Sequence[str], failures: Mapping[str, str], outcome: str = "unknown"
    ) -> None:
        super().__init__("the write was not confirmed by enough nodes", needed, answered, failures)
        self.outcome = outcome
        self.evidence["outcome"] = outcome


class ReadQuorumLost(QuorumError):
    """Fewer than R owners answered, so neither the newest version nor its absence can be told."""

    code = "read_quorum_lost"

    def __init__(self, needed: int, answered: Sequence[str], failures: Mapping[str, str]) -> None:
        super().__init__("too few owners answered to read", needed, answered, failures)


class TooManySiblings(DynafsError):
    """The file has so many concurrent versions that a client must resolve them before another is added."""

    code = "too_many_siblings"

    def __init__(self, siblings_max: int) -> None:
        super().__init__(
            f"{siblings_max} versions stand beside each other; read them and write with the X-Dynafs-Context you get",
            siblings_max=siblings_max,
        )


class TooManyActors(DynafsError):
    """A node that stands in for an owner would need one more name in a record that has as many as it may; an owner, or
    a node that wrote the file before, can still write it."""

    code = "too_many_actors"
    retryable = True

    def __init__(self, actors_max: int) -> None:
        super().__init__(
            f"{actors_max} actors have written the file; an owner of it must coordinate this write",
            actors_max=actors_max,
        )


class ChunkUnavailable(DynafsError):
    """No reachable owner has a good copy of the chunk."""

    code = "chunk_unavailable"
    retryable = True

    def __init__(self, chunk_id: str, failures: Mapping[str, str]) -> None:
        super().__init__(f"no good copy of chunk {chunk_id} can be reached", chunk=chunk_id, failures=dict(failures))


class ClockSkewed(DynafsError):
    """A stamp lies further in the future than `max_clock_skew_ms` allows."""

    code = "clock_skewed"

    def __init__(self, ahead_ms: int, allowed_ms: int) -> None:
        super().__init__(
            f"a stamp is {ahead_ms} ms ahead of this node's clock, {allowed_ms} ms are allowed: check the clocks",
            ahead_ms=ahead_ms, allowed_ms=allowed_ms,
        )  # fmt: skip


class ReplicaIncomplete(DynafsError):
    """This node started with an empty disk and may have forgotten what it held; `missing`: peers it has yet to ask."""

    code = "replica_incomplete"
    retryable = True

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"this node started with an empty disk and has yet to hear from {', '.join(missing)}", missing=list(missing)
        )
