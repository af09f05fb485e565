"""Ring news: a node that was away, or that a message missed, learns which ring stands."""

from dynafs.membership import RingKeeper
from dynafs.ports import Clock
from dynafs.replication.job import Job
from dynafs.replication.reach import Reach

#: How often a node asks its peers, even if none of them came up.
INTERVAL_S = 60.0


class RingNews:
    """Asks peers which ring they know."""

    def __init__(self, reach: Reach, keeper: RingKeeper, clock: Clock) -> None:
        self._reach, self._keeper = reach, keeper
        self.job = Job("ring", self._ask, clock, INTERVAL_S)

    def on_peer_up(self) -> None:
        """Ask soon."""
        self.job.hurry()

    async def _ask(self, job: Job) -> None:
        nodes = [node for node in self._reach.others if self._reach.is_up(node)]
        await self._keeper.catch_up(nodes)
        job.status.items += len(nodes)
