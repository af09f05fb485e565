"""Under which names a node stamps versions that may stand beside others."""

from collections import OrderedDict

from dynafs.causality import Context, Stamp

#: Files whose last stamp is remembered; forgetting one costs a fallback a new name.
REMEMBERED_MAX = 10_000


class ActorNames:
    """Chooses the actor of a stamp, file by file.

    A record's entry for an actor covers everything that actor ever wrote of the file. An owner holds all of that,
    unless its own disk failed while others took the write; a fallback lets its copy go when it was handed over, and
    knows nothing of it when it stands in again. So a node goes on under a name only as long as what it holds covers the
    last stamp it gave under it, and takes a new one else.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, Stamp] = OrderedDict()

    def name(self, key: bytes, stamp: Stamp, held: Context, *, is_owner: bool) -> Stamp:
        """Return the stamp under the right name. held: the context of what this node holds of the file."""
        last = self._last.pop(key, None)
        if last is not None and held.get(last.actor, -1) >= last.time:
            named = Stamp(stamp.time, last.actor)
        elif last is None and is_owner:
            named = stamp
        else:
            named = Stamp(stamp.time, f"{stamp.actor}~{stamp.time:x}")
        self._last[key] = named
        if len(self._last) > REMEMBERED_MAX:
            self._last.popitem(last=False)
        return named
