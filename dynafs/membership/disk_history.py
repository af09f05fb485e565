"""What a node remembers of its disk: whether it is the first it ever had, and from which peers it has refilled it.

An empty data directory is a new generation of its node. Peers remember under which generation they first met each node;
one that knew this node under another generation proves that its former disk was lost.
"""

from collections.abc import Sequence

import msgspec

from dynafs.ports import Store
from dynafs.storage.stored import decode_stored

STATE_FACT, MET_FACT = "refill", "met:"


class RefillState(msgspec.Struct):
    """What is durable of a refill. pulled: peers whose records are all here. is_lost: a peer knew a former self."""

    is_complete: bool = False
    is_lost: bool = False
    pulled: list[str] = []


def first_state(*, is_new: bool) -> bytes:
    """Return what STATE_FACT begins as: in an empty directory, or in one that is older than refills."""
    return msgspec.json.encode(RefillState(is_complete=not is_new))


class DiskHistory:
    """The history of one node's disk, durable in its store."""

    def __init__(self, store: Store, generation: str) -> None:
        """generation: of this data directory."""
        self._store, self.generation = store, generation
        stored = store.fact(STATE_FACT)
        self._state = RefillState() if stored is None else decode_stored("refill", _decode_state, stored)

    @property
    def is_first(self) -> bool:
        """Whether this node's data directory is known to be the first it ever had, or old enough to remember."""
        return self._state.is_complete and not self._state.is_lost

    @property
    def is_lost(self) -> bool:
        """Whether a peer met a former self of this node, with another data directory."""
        return self._state.is_lost

    @property
    def is_complete(self) -> bool:
        """Whether this node may answer every read."""
        return self._state.is_complete

    @property
    def pulled(self) -> Sequence[str]:
        """Peers whose records are all here; of use until the disk is complete."""
        return self._state.pulled

    def note_alone(self) -> None:
        """There are no peers, so nothing can be missing."""
        self._state.is_complete = True

    async def note_loss(self) -> None:
        """A former disk was lost; what was pulled so far may be too early, so the refill begins again."""
        self._state.is_lost, self._state.pulled = True, []
        await self._keep()

    async def note_pulled(self, node: str) -> None:
        """Every record of a peer is here."""
        self._state.pulled.append(node)
        await self._keep()

    async def complete(self) -> None:
        """From now on this node answers every read."""
        complete = msgspec.structs.replace(self._state, is_complete=True)
        await self._store.put_fact(STATE_FACT, msgspec.json.encode(complete))
        self._state = complete

    async def _keep(self) -> None:
        await self._store.put_fact(STATE_FACT, msgspec.json.encode(self._state))

    def has_met(self, node: str) -> bool:
        """Return whether a node's generation is remembered."""
        return self._store.fact(MET_FACT + node) is not None

    async def meet(self, node: str, generation: str) -> bool:
        """Remember the first generation under which a node appears; return whether it was another one before."""
        known = self._store.fact(MET_FACT + node)
        if known is None:
            await self._store.put_fact(MET_FACT + node, generation.encode())
        return known not in (None, generation.encode())


def _decode_state(data: bytes) -> RefillState:
    return msgspec.json.decode(data, type=RefillState)
