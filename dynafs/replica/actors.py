"""Under which names a node stamps versions that may stand beside others."""

from collections import OrderedDict

from dynafs.causality import Context, Stamp
from dynafs.errors import TooManyActors

#: Files whose last stamp is remembered; forgetting one costs a fallback a new name.
REMEMBERED_MAX = 10_000
#: Actors of a record above which no node adds a further name of its own; each takes some 50 bytes in every copy.
ACTORS_MAX = 256


class ActorNames:
    """Chooses the actor of a stamp, file by file.

    A record's entry for an actor covers everything that actor ever wrote of the file. An owner holds all of that,
    unless its own disk failed while others took the write; a fallback lets its copy go when it was handed over, and
    knows nothing of it when it stands in again. So a node goes on under a name only as long as the record it writes
    over covers the last stamp it gave under it, and takes a new one else.

    No entry can be removed from a context: a replica may be away for any time and come back with a version that only
    that entry covers. So the number of names is bounded where they are made. Owners write under their own names
    however many there are.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, Stamp] = OrderedDict()

    def is_covered(self, key: bytes, held: Context) -> bool:
        """Return whether a context covers the last stamp given for a file; also when none is remembered."""
        last = self._last.get(key)
        return last is None or held.get(last.actor, -1) >= last.time

    def name(self, key: bytes, stamp: Stamp, held: Context, *, is_owner: bool) -> Stamp:
        """Return the stamp under the right name. held: the context of the record that the write is added to.

        Raises TooManyActors when that would be a new name, and the record has enough.
        """
        last = self._last.get(key)
        if last is not None and held.get(last.actor, -1) >= last.time:
            named = Stamp(stamp.time, last.actor)
        elif last is None and is_owner:
            named = stamp
        elif len(held) >= ACTORS_MAX:
            raise TooManyActors(ACTORS_MAX)
        else:
            named = Stamp(stamp.time, f"{stamp.actor}~{stamp.time:x}")
        self._last[key] = named
        self._last.move_to_end(key)
        if len(self._last) > REMEMBERED_MAX:
            self._last.popitem(last=False)
        return named
