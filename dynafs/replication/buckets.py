"""Buckets: replicated records of policy, made by their first PUT, fixed from then on.

A policy never changes, so nodes remember what a quorum read once confirmed. Two clients that make the same bucket
with different policies in the same moment race: the later stamp wins, and until both have answered the loser's policy
may have been used. Make a bucket with a policy of its own before its first PUT.
"""

from collections import OrderedDict

import msgspec

from dynafs.errors import BucketExists, NotFound
from dynafs.files import BucketPolicy, FileName, Version, VersionKind
from dynafs.observe.events import get_logger
from dynafs.quorum import QuorumPolicy
from dynafs.replication.commit import UNSTAMPED, Committer
from dynafs.replication.records import RecordReader

log = get_logger()

#: Policies remembered; the least recently used is read again.
REMEMBERED_MAX = 10_000


class Buckets:
    """What this node knows of buckets."""

    def __init__(self, records: RecordReader, committer: Committer, n: int, default: BucketPolicy) -> None:
        self._records, self._committer, self._n, self.default = records, committer, n, default
        self._own = QuorumPolicy(n, default.r, default.w)
        self._known: OrderedDict[str, BucketPolicy] = OrderedDict()

    def quorum(self, policy: BucketPolicy, r: int | None = None, w: int | None = None) -> QuorumPolicy:
        """Return the quorum numbers of one request in a bucket of this policy. Raises PolicyRefused."""
        return QuorumPolicy(self._n, policy.r, policy.w).override(r, w)

    async def find(self, bucket: str) -> BucketPolicy:
        """Return the bucket's policy. Raises NotFound when R owners agree there is no such bucket."""
        policy = self._known.get(bucket)
        if policy is None:
            name = FileName.of_bucket(bucket)
            version = (await self._records.read(name.key, self._own.r, self._own.w)).newest
            if version is None or not version.is_file or version.inline is None:
                raise NotFound("bucket", bucket)
            policy = self._known[bucket] = msgspec.json.decode(version.inline, type=BucketPolicy)
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        return policy

    async def find_or_make(self, bucket: str) -> BucketPolicy:
        """Return the bucket's policy, making it with the cluster's default when it does not exist."""
        try:
            return self._known.get(bucket) or await self.find(bucket)
        except NotFound:
            return await self.make(bucket, self.default)

    async def make(self, bucket: str, policy: BucketPolicy) -> BucketPolicy:
        """Make a bucket and return its policy. Raises BucketExists when it stands with another, RequestInvalid."""
        policy.check()
        QuorumPolicy(self._n, policy.r, policy.w).check()
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
