"""Errors of rings, and of changing them."""

from collections.abc import Sequence

from dynafs.errors.root import DynafsError


class RingError(DynafsError):
    """A ring that cannot be made or used."""

    code = "ring_invalid"


class ChangeRefused(RingError):
    """A change of members that cannot be."""

    code = "change_refused"

    def __init__(self, change: str, reason: str) -> None:
        super().__init__(f"{change}: {reason}", change=change)


class StagedUnusable(RingError):
    """No ring can be made of the changes that are staged; they must be cleared."""

    code = "staged_unusable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"no ring can be made of the staged changes: {reason}; forget them all with `dynafs ring clear`"
        )


class RingChanged(RingError):
    """Something else was decided meanwhile; look at the ring as it is now and plan again."""

    code = "ring_changed"

    def __init__(self, version: int) -> None:
        super().__init__(f"the ring is at version {version} by now; plan again", version=version)


class RingOutdated(RingError):
    """Who asked goes by an older state of the ring than this node does; it learns the newer one and asks again."""

    code = "ring_outdated"
    retryable = True


class RingBehind(RingError):
    """Who asked goes by a newer state of the ring than this node, which has to learn it first."""

    code = "ring_behind"
    retryable = True


class PlanOutdated(RingError):
    """The plan that was to be committed is not the plan of what is staged by now."""

    code = "plan_outdated"


class NotSafe(RingError):
    """What was asked for would leave something with fewer copies than a write needs."""

    code = "not_safe"
    retryable = True

    def __init__(self, what: str, reasons: Sequence[str]) -> None:
        super().__init__(f"{what} is not safe now: {'; '.join(reasons)}", reasons=list(reasons))


class NodesApart(RingError):
    """Nodes that are to share a ring cannot call each other."""

    code = "nodes_apart"
    retryable = True


class GossipFailed(RingError):
    """The node cannot take part in gossip."""

    code = "gossip_failed"


class RingUndecided(RingError):
    """No majority of the members answered; the change may still be decided by whoever proposes next."""

    code = "ring_undecided"
    retryable = True

    def __init__(self, version: int, voters: Sequence[str]) -> None:
        super().__init__(
            f"version {version} of the ring was not decided: a majority of {', '.join(voters)} must answer",
            version=version, voters=list(voters), outcome="unknown",
        )  # fmt: skip


class RingTooSmall(RingError):
    """Fewer nodes than copies."""

    code = "ring_too_small"

    def __init__(self, node_count: int, n: int) -> None:
        super().__init__(
            f"{n} copies need at least {n} nodes with weight, the ring has {node_count}",
            nodes=node_count,
            n=n,
        )
