"""Buckets: replicated records of policy, made by their first PUT, fixed from then on.

A policy never changes, so nodes remember what a quorum read once confirmed. Two clients that make the same bucket
with different policies in the same moment race: the later stamp wins, and until both have answered the loser's policy
may have been used. Make a bucket with a policy of its own before its first PUT.
"""

import asyncio
from collections import OrderedDict
from functools import lru_cache

import msgspec

from dynafs.coordinator.commit import UNSTAMPED, Committer
from dynafs.coordinator.records import ReplicatedRecords
from dynafs.errors import BucketExists, NotFound, PolicyRefused, ReadQuorumLost
from dynafs.files import BucketPolicy, FileName, Record, Version, VersionKind
from dynafs.jobs.tasks import note_failure
from dynafs.observe.events import get_logger
from dynafs.quorum import QuorumPolicy

log = get_logger()

#: Policies remembered; the least recently used is read again.
REMEMBERED_MAX = 10_000


@lru_cache(maxsize=1000)
def _overridden(
    n: int,
    bucket_r: int,
    bucket_w: int,
    is_available: bool,  # noqa: FBT001
    r: int | None,
    w: int | None,
) -> QuorumPolicy:
    """Return what a request asks of a bucket's quorum. Raises PolicyRefused."""
    return QuorumPolicy(n, bucket_r, bucket_w, is_available).override(r, w)


class Buckets:
    """What this node knows of buckets."""

    def __init__(self, records: ReplicatedRecords, committer: Committer, n: int, default: BucketPolicy) -> None:
        self._records, self._committer, self._n, self.default = records, committer, n, default
        self._own = QuorumPolicy(n, default.r, default.w)
        self._known: OrderedDict[str, BucketPolicy] = OrderedDict()
        #: {bucket: the attempt to find or make it}
        self._making: dict[str, asyncio.Task[BucketPolicy]] = {}

    def quorum(
        self,
        policy: BucketPolicy,
        r: int | None = None,
        w: int | None = None,
        consistency: str | None = None,
        *,
        is_write: bool = False,
    ) -> QuorumPolicy:
        """Return the quorum of one request in a bucket of this policy. Raises PolicyRefused."""
        if consistency == "strong" and policy.is_available:
            raise PolicyRefused(
                "consistency",
                "the bucket is available: fallbacks may hold what no owner has heard of",
                n=self._n,
            )
        if consistency == "available" and not policy.is_available:
            if is_write:
                raise PolicyRefused("consistency", "the bucket is strong: only reads may be available", n=self._n)
            return QuorumPolicy(self._n, policy.r if r is None else r, policy.w, is_available=True)
        return _overridden(self._n, policy.r, policy.w, policy.is_available, r, w)

    async def find(self, bucket: str) -> BucketPolicy:
        """Return the bucket's policy. Raises NotFound when R owners agree there is no such bucket."""
        policy = self._known.get(bucket)
        if policy is None:
            name = FileName.of_bucket(bucket)
            version = (await self._read(name.key)).newest
            if version is None or not version.is_file or version.inline is None:
                raise NotFound("bucket", bucket)
            policy = self._known[bucket] = msgspec.json.decode(version.inline, type=BucketPolicy)
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        return policy

    async def _read(self, key: bytes) -> Record:
        """Read a policy: strongly, or where that is impossible any copy of it, since it never changes."""
        try:
            return await self._records.read(key, self._own)
        except ReadQuorumLost as lost:
            record = await self._records.read(key, QuorumPolicy(self._n, 1, 1, is_available=True))
            if record.newest is None:
                raise lost from None
            return record

    async def find_or_make(self, bucket: str) -> BucketPolicy:
        """Return the bucket's policy, making it with the cluster's default when it does not exist. Requests that come
        together share one attempt."""
        known = self._known.get(bucket)
        if known is not None:
            return known
        making = self._making.get(bucket)
        if making is None:
            making = self._making[bucket] = asyncio.create_task(self._find_or_make(bucket))
            making.add_done_callback(note_failure)
            making.add_done_callback(lambda _: self._making.pop(bucket))
        return await asyncio.shield(making)

    async def _find_or_make(self, bucket: str) -> BucketPolicy:
        try:
            return await self.find(bucket)
        except NotFound:
            return await self.make(bucket, self.default)

    async def make(self, bucket: str, policy: BucketPolicy) -> BucketPolicy:
        """Make a bucket and return its policy. Raises BucketExists when it stands with another, RequestInvalid."""
        policy.check()
        QuorumPolicy(self._n, policy.r, policy.w, policy.is_available).check()
        try:
            found = await self.find(bucket)
        except NotFound:
            draft = Version(UNSTAMPED, VersionKind.FILE, inline=msgspec.json.encode(policy))
            await self._committer.commit(FileName.of_bucket(bucket).key, draft, self._own)
            found = await self.find(bucket)
            log.info("bucket.made", bucket=bucket, **msgspec.structs.asdict(found))
        if found != policy:
            raise BucketExists(
                f"bucket {bucket} exists with another policy, which cannot be changed",
                bucket=bucket, policy=msgspec.structs.asdict(found),
            )  # fmt: skip
        return found
