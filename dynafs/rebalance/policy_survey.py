"""The policies in use: what the most careful bucket needs, for whatever concerns all buckets at once."""

from dynafs.coordinator.buckets import Buckets
from dynafs.coordinator.listing import ListingReader
from dynafs.errors import ReadQuorumLost
from dynafs.quorum import QuorumPolicy

PAGE_BUCKETS = 256


class PolicySurvey:
    """Looks through the policies of all buckets."""

    def __init__(self, lister: ListingReader, buckets: Buckets) -> None:
        self._lister, self._buckets = lister, buckets

    async def in_use(self) -> list[QuorumPolicy]:
        """Return the quorums in use in strong buckets. Raises ReadQuorumLost."""
        own = self._buckets.quorum(self._buckets.default)
        found, after = [own], b""
        while True:
            page = await self._lister.page("", "", "", after, PAGE_BUCKETS, own)
            for name, _ in page.files:
                found.append(self._buckets.quorum(await self._buckets.find(name)))
            if page.after is None:
                return [one for one in found if not one.is_available] or [own]
            after = page.after

    async def needed(self) -> int:
        """Return how many owners the most careful bucket's reads and writes need; by this node's settings, if buckets
        cannot be read: then too few are up by any measure."""
        try:
            policies = await self.in_use()
        except ReadQuorumLost:
            policies = [self._buckets.quorum(self._buckets.default)]
        return max(max(one.r, one.w) for one in policies)
