"""Watching for peers that come up, and telling whoever has something for them."""

import asyncio
from collections.abc import Callable, Sequence

from dynafs.membership.cluster import Cluster
from dynafs.observe.supervision import reporting, supervised

#: How often to look.
LOOK_S = 1.0


class PeerWatch:
    """Calls back when a peer came up."""

    def __init__(self, cluster: Cluster, on_up: Sequence[Callable[[], None]]) -> None:
        self._cluster, self._on_up = cluster, on_up
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; peers that are up already count as having come up."""
        self._task = supervised("watch for peers", self._watch)

    async def _watch(self) -> None:
        known = frozenset[str]()
        while True:
            await asyncio.sleep(LOOK_S)
            up = frozenset(node for node in self._cluster.others if self._cluster.is_up(node))
            if up - known:
                for callback in self._on_up:
                    with reporting("watch for peers"):
                        callback()
            known = up

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
