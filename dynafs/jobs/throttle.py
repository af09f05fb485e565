"""The throttle: background work gives way when clients have to wait longer than they do without it.

What is normal is learned while no job works; a job that always does leaves the best that was seen, forgotten slowly.
While one works, its pace is halved whenever the 90th percentile of recent requests is well above that, and grows slowly
when it is not (multiplicative decrease: Chiu, Jain 1989). It never stops altogether: what heals nothing in time
protects nobody.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

#: Requests looked at, and for how long one counts as recent.
SAMPLES, RECENT_S = 256, 2.0
#: Fewer recent ones say nothing.
SAMPLES_MIN = 16
#: How often the share is judged anew.
JUDGE_EVERY_S = 0.25
#: Requests may take so many times as long as normally, and so much more, before work gives way.
PATIENCE, PATIENCE_S = 1.2, 0.0003
#: The least share, and the factors by which it falls and grows.
SHARE_MIN, FALL, GROWTH = 1 / 16, 0.5, 1.1
#: Weight of the newest percentile in what is normal.
NEWEST_WEIGHT = 0.2
#: While there always is work, what is normal may be twice as much after this time.
FORGOTTEN_S = 3600.0
#: Without work for this long, requests are as they are without any.
QUIET_S = 2.0


@dataclass
class _Kind:
    """One kind of request. normal_s: its percentile without background work, None until it is known."""

    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    normal_s: float | None = None

    def percentile_s(self, now_s: float) -> float | None:
        """Return the 90th percentile of recent requests, None when there are too few."""
        while self.recent and self.recent[0][0] < now_s - RECENT_S:
            self.recent.popleft()
        if len(self.recent) < SAMPLES_MIN:
            return None
        ordered = sorted(latency_s for _, latency_s in self.recent)
        return ordered[int(0.9 * (len(ordered) - 1))]

    def learn(self, percentile_s: float) -> None:
        """Take a percentile without background work for normal."""
        known = percentile_s if self.normal_s is None else self.normal_s
        self.normal_s = known + NEWEST_WEIGHT * (percentile_s - known)

    def bound(self, percentile_s: float, passed_s: float) -> None:
        """Take a percentile with background work for an upper bound of normal."""
        known = percentile_s if self.normal_s is None else self.normal_s * 2 ** (passed_s / FORGOTTEN_S)
        self.normal_s = min(known, percentile_s)

    def is_late(self, percentile_s: float) -> bool:
        """Return whether that is well above normal."""
        return self.normal_s is not None and percentile_s > PATIENCE * self.normal_s + PATIENCE_S


class Throttle:
    """Tells the jobs of one node which share of their pace they may take."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._kinds: dict[str, _Kind] = {}
        self._worked_s = self._judged_s = monotonic_s()
        self._share = 1.0

    def add(self, kind: str, latency_s: float) -> None:
        """Take one request of a client into account. kind: requests of one kind take about equally long."""
        now_s = self._monotonic_s()
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind()
        known.recent.append((now_s, latency_s))
        self._judge(now_s)

    def share(self) -> float:
        """Return the share of its pace, above 0 to 1, that a job may take for the piece it begins now."""
        self._worked_s = self._monotonic_s()
        self._judge(self._worked_s)
        return self._share

    def _judge(self, now_s: float) -> None:
        if now_s < self._judged_s + JUDGE_EVERY_S:
            return
        passed_s, self._judged_s = now_s - self._judged_s, now_s
        is_quiet, is_late = now_s > self._worked_s + QUIET_S, False
        for kind in self._kinds.values():
            percentile_s = kind.percentile_s(now_s)
            if percentile_s is not None and is_quiet:
                kind.learn(percentile_s)
            elif percentile_s is not None:
                kind.bound(percentile_s, passed_s)
                is_late |= kind.is_late(percentile_s)
        self._share = max(self._share * FALL, SHARE_MIN) if is_late else min(self._share * GROWTH, 1.0)
