"""Every error dynafs raises: one tree, a stable code, retryable or not, evidence as attributes.

Rule 1: `code` is part of the product's interface (HTTP, wire, scripts); it is never renamed.
Rule 2: the message is built here from the evidence, so that one situation reads the same everywhere.
Rule 3: an assertion is for our own bugs; everything the world can do to us is one of these.
"""

from collections.abc import Mapping, Sequence

from dynafs.errors.client import (
    AnswerUnexpected as AnswerUnexpected,
)
from dynafs.errors.client import (
    ContentMismatch as ContentMismatch,
)
from dynafs.errors.client import (
    SiblingsFound as SiblingsFound,
)
from dynafs.errors.client import (
    SourceChanged as SourceChanged,
)
from dynafs.errors.peers import (
    LocalProtocolError as LocalProtocolError,
)
from dynafs.errors.peers import (
    PeerError as PeerError,
)
from dynafs.errors.peers import (
    PeerOutdated as PeerOutdated,
)
from dynafs.errors.peers import (
    PeerOverloaded as PeerOverloaded,
)
from dynafs.errors.peers import (
    PeerRefused as PeerRefused,
)
from dynafs.errors.peers import (
    PeerTimeout as PeerTimeout,
)
from dynafs.errors.peers import (
    PeerUnreachable as PeerUnreachable,
)
from dynafs.errors.peers import (
    ProtocolError as ProtocolError,
)
from dynafs.errors.peers import (
    RemoteProtocolError as RemoteProtocolError,
)
from dynafs.errors.peers import (
    ReplyTooLarge as ReplyTooLarge,
)
from dynafs.errors.peers import (
    RequestTooLarge as RequestTooLarge,
)
from dynafs.errors.requests import ExpectationFailed as ExpectationFailed
from dynafs.errors.requests import HeadersTooLarge as HeadersTooLarge
from dynafs.errors.requests import RequestMalformed as RequestMalformed
from dynafs.errors.requests import TargetTooLong as TargetTooLong
from dynafs.errors.requests import VersionNotSupported as VersionNotSupported
from dynafs.errors.ring import (
    ChangeRefused as ChangeRefused,
)
from dynafs.errors.ring import (
    GossipFailed as GossipFailed,
)
from dynafs.errors.ring import (
    NodesApart as NodesApart,
)
from dynafs.errors.ring import (
    NotSafe as NotSafe,
)
from dynafs.errors.ring import (
    PlanOutdated as PlanOutdated,
)
from dynafs.errors.ring import (
    RingBehind as RingBehind,
)
from dynafs.errors.ring import (
    RingChanged as RingChanged,
)
from dynafs.errors.ring import (
    RingError as RingError,
)
from dynafs.errors.ring import (
    RingOutdated as RingOutdated,
)
from dynafs.errors.ring import (
    RingTooSmall as RingTooSmall,
)
from dynafs.errors.ring import (
    RingUndecided as RingUndecided,
)
from dynafs.errors.ring import (
    StagedUnusable as StagedUnusable,
)
from dynafs.errors.root import DynafsError as DynafsError


class ConfigError(DynafsError):
    """Settings that cannot work. `problems` lists every one of them, each naming its field and the fix."""

    code = "config_invalid"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems), problems=list(problems))
        self.problems = list(problems)


class RequestInvalid(DynafsError):
    """The client asked for something malformed or out of range; `field` says which part."""

    code = "request_invalid"

    def __init__(self, field: str, message: str, **evidence: object) -> None:
        super().__init__(f"{field}: {message}", field=field, **evidence)


class NameInvalid(RequestInvalid):
    """A bucket or path that dynafs cannot store."""

    code = "name_invalid"


class PolicyRefused(RequestInvalid):
    """Quorum numbers whose promise cannot be kept."""

    code = "policy_refused"


class RangeNotSatisfiable(DynafsError):
    """No byte of the asked ranges exists in a file of `size_bytes`."""

    code = "range_not_satisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"no byte of the asked range exists: the file has {size_bytes} bytes", size_bytes=size_bytes)
        self.size_bytes = size_bytes


class PreconditionFailed(DynafsError):
    """A condition in `field` does not hold for the file, whose `etag` it is; nothing was sent."""

    code = "precondition_failed"

    def __init__(self, field: str, etag: str) -> None:
        super().__init__(f'{field}: the condition does not hold; the ETag is "{etag}"', field=field, etag=etag)


class DigestMismatch(DynafsError):
    """The body does not hash to what the client announced in `field`; nothing was stored."""

    code = "digest_mismatch"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{field}: the body hashes to {actual}, not {expected}; nothing was stored",
            field=field, expected=expected, actual=actual,
        )  # fmt: skip


class BodyIncomplete(DynafsError):
    """The client went away, or its body broke off or was malformed; nothing was made visible."""

    code = "body_incomplete"


class BodyTooSlow(BodyIncomplete):
    """The client sent its body below the least rate; nothing was made visible."""

    code = "body_too_slow"
    retryable = True


class NotFound(DynafsError):
    """R owners agree that it does not exist."""

    code = "not_found"

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"{what} not found: {name}", what=what, name=name)


class BucketExists(DynafsError):
    """The bucket stands with another policy; a bucket's policy is fixed when it is made."""

    code = "bucket_exists"


class NotSupported(DynafsError):
    """A feature this node does not offer."""

    code = "not_supported"


class Unauthorized(DynafsError):
    """No token, or a wrong one."""

    code = "unauthorized"


class OriginRefused(DynafsError):
    """A browser sent the request on behalf of a foreign page, or for a host name that is not ours."""

    code = "origin_refused"


class Overloaded(DynafsError):
    """A limit of this node is reached; `retry_after_s` is when to try again."""

    code = "overloaded"
    retryable = True

    def __init__(self, what: str, retry_after_s: int = 1) -> None:
        super().__init__(f"{what}; try again in {retry_after_s} s", retry_after_s=retry_after_s)
        self.retry_after_s = retry_after_s


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
    """So many versions stand beside each other that somebody must resolve them before another is added."""

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


class StoreError(DynafsError):
    """This node's disk."""


class StoreFailed(StoreError):
    """The operating system failed a read or a write."""

    code = "store_failed"
    retryable = True


class StoreFull(StoreError):
    """No space left for the write."""

    code = "store_full"


class HintsFull(StoreError):
    """A fallback keeps as many hints as it may; the owner is brought up to date by anti-entropy instead."""

    code = "hints_full"


class StoreRefused(StoreError):
    """A data directory this process must not open: locked, of another cluster or node, or of a newer format."""

    code = "store_refused"


class StoreCorrupt(StoreError):
    """Stored bytes fail their checksum."""

    code = "store_corrupt"


class ChunkMissing(StoreError):
    """This node has no copy of the chunk."""

    code = "chunk_missing"


class ChunkCorrupt(StoreError):
    """This node's copy does not hash to its name; it was quarantined."""

    code = "chunk_corrupt"


class ChunkMismatch(StoreError):
    """Bytes offered as a chunk do not hash to its name; they were refused."""

    code = "chunk_mismatch"

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"offered bytes hash to {actual}, not {expected}", expected=expected, actual=actual)


class ServerRefused(DynafsError):
    """What a client gets for a node's error answer; `remote_code` is the node's code, `status` the HTTP status."""

    code = "server_refused"

    def __init__(self, status: int, remote_code: str, message: str, evidence: Mapping[str, object]) -> None:
        super().__init__(message, **{**evidence, "status": status, "code": remote_code})
        self.status, self.remote_code = status, remote_code


class ServerUnreachable(DynafsError):
    """What a client gets when no node answers at the URL, or the answer breaks off."""

    code = "server_unreachable"
    retryable = True
