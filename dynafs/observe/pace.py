"""How often an event that strangers can cause is logged: a bounded number of lines, with what was left out counted."""

from dataclasses import dataclass

#: Keys that are paced one by one; all further ones share a pace.
KEYS_MAX = 64


@dataclass(slots=True)
class _Pace:
    logged_at_s: float
    suppressed: int = 0


class EventPace:
    """Admits one event per key (for example a client's address) and interval. Pure: the caller passes the time.

    At most `keys_max` keys are kept. Keys beyond that share one pace, so that strangers with many addresses can cause
    neither more than `keys_max` + 1 lines per interval nor an unbounded table.
    """

    def __init__(self, interval_s: float = 1.0, keys_max: int = KEYS_MAX) -> None:
        self._interval_s, self._keys_max = interval_s, keys_max
        self._paces: dict[str, _Pace] = {}
        self._shared = _Pace(float("-inf"))

    def admit(self, key: str, now_s: float) -> int | None:
        """Return how many events were suppressed since the last admitted one, or None to suppress this one too.

        now_s: a monotonic time. Suppressed events of a key that is dropped from the table count for the shared pace.
        """
        pace = self._paces.get(key)
        if pace is None:
            pace = self._new(key, now_s)
        if now_s - pace.logged_at_s < self._interval_s:
            pace.suppressed += 1
            return None
        pace.logged_at_s = now_s
        suppressed, pace.suppressed = pace.suppressed, 0
        return suppressed

    def _new(self, key: str, now_s: float) -> _Pace:
        if len(self._paces) >= self._keys_max:
            self._drop_expired(now_s)
        if len(self._paces) >= self._keys_max:
            return self._shared
        pace = self._paces[key] = _Pace(float("-inf"))
        return pace

    def _drop_expired(self, now_s: float) -> None:
        """Drop keys whose interval has passed."""
        for key, pace in list(self._paces.items()):
            if now_s - pace.logged_at_s >= self._interval_s:
                self._shared.suppressed += pace.suppressed
                del self._paces[key]
