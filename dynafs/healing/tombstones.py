"""Reaping: tombstones go when nothing is left that they could be needed against.

Problem: a tombstone that goes too early lets the deleted file return with a node that was away, or with a late message;
one that never goes makes a bucket slower for ever.

Rule: the first owner of a file proposes, and a tombstone goes only when it is older than `tombstone_grace_s` by the
clock of every owner, when every owner holds exactly this record, and when no other node holds any record of the
file, so no hint for it can be on its way. While one of them does not answer nothing happens. An owner that did not
hear of it brings the tombstone back to the others, which is harmless: absent is never newer than present.

While the ring changes nothing is reaped.

Tested in the simulator with nodes that are away for long, late messages, and clocks that jump.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from dynafs.errors import DynafsError, StoreCorrupt
from dynafs.membership.cluster import Cluster
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Clock, Store
from dynafs.ring import file_hash
from dynafs.ring.transition import Step
from dynafs.storage.stored import stored_record
from dynafs.wire.message import Stored
from dynafs.wire.messages import CompareRecords, ReapRecords
from dynafs.wire.records import record_digest
from dynafs.wire.rows import checked_rows

log = get_logger()


class TombstoneReaper:
    """Proposes and carries out the reaping of tombstones on one node."""

    def __init__(self, cluster: Cluster, store: Store, clock: Clock, grace_s: float) -> None:
        self._cluster, self._store, self._clock, self._grace_ms = cluster, store, clock, 1000 * grace_s

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that propose to reap tombstones, and carry out what was agreed."""
        dispatcher.register(ReapRecords, lambda _, _request, body: self.serve(bytes(body)))

    async def reap(self, keys: Sequence[bytes]) -> int:
        """Reap those of these tombstones that may go; return how many that were. Raises DynafsError."""
        if self._cluster.view.state.step is not Step.STABLE:
            return 0
        digests = {
            key: record_digest(data)
            for key in keys
            if self._cluster.owners(file_hash(key))[0] == self._cluster.me and self._is_due(data := self._settled(key))
        }
        for node in [self._cluster.me, *self._cluster.others]:
            if digests:
                for key in await self._objections(node, digests):
                    del digests[key]
        for node in [self._cluster.me, *self._cluster.others]:
            rows = [(key, digest) for key, digest in digests.items() if node in self._cluster.owners(file_hash(key))]
            if rows:
                await self._cluster.ask(node, ReapRecords(), msgspec.msgpack.encode(rows))
        metrics.tombstones_reaped.inc(len(digests))
        return len(digests)

    def _settled(self, key: bytes) -> bytes:
        """Return a record that is durable and about to stay, else nothing."""
        data = self._store.read_record(key)
        return data if data == self._store.latest_record(key) else b""

    def _is_due(self, data: bytes) -> bool:
        try:
            versions = stored_record(data).versions
        except StoreCorrupt:
            # It was logged. Other owners bring it back; the tombstones beside it need not wait for that.
            return False
        if len(versions) != 1 or versions[0].is_file:
            return False
        return self._clock.wall_ms() - versions[0].stamp.wall_ms > self._grace_ms

    async def _objections(self, node: str, digests: dict[bytes, bytes]) -> list[bytes]:
        """Return the keys that a node holds otherwise than as an owner or a fallback should; all when it is silent."""
        owners = self._cluster.owners
        rows = [(key, digest if node in owners(file_hash(key)) else b"") for key, digest in digests.items()]
        try:
            answer = await self._cluster.ask(node, CompareRecords(), msgspec.msgpack.encode(rows))
        except DynafsError:
            return [key for key, _ in rows]
        return [rows[number][0] for number in answer.message.rows if 0 <= number < len(rows)]

    async def serve(self, body: bytes) -> Answer[Stored]:
        """Remove tombstones that everybody holds, unless this node's clock says that it is too early."""
        rows = checked_rows(body, "key and digest")
        due = [
            key for key, digest in rows
            if self._cluster.view.state.step is Step.STABLE
            and record_digest(data := self._settled(key)) == digest
            and self._is_due(data)
        ]  # fmt: skip
        await asyncio.gather(*(self._store.put_record(key, b"") for key in due))
        return Answer(Stored())
