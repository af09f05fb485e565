"""Marks: how full the disk may get, and for what.

    below soft        everything
    soft to hard      nothing is kept for other nodes any more
    hard to reserve   no new contents; deletes, repairs of the index, compaction
    above reserve     only what frees space

What is free is asked of the file system now and then; between two askings what was written is added up. So space that
is freed, by whomever, lifts a mark by itself.
"""

import asyncio

from dynafs.config import StorageSettings
from dynafs.errors import StoreFull
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.storage.disk import Disk

log = get_logger()

#: How long an answer of the file system is believed.
BELIEVED_S = 0.5


class DiskMarks:
    """Knows how full one disk is."""

    def __init__(self, disk: Disk, settings: StorageSettings) -> None:
        self._disk = disk
        self._marks = {"soft": settings.soft_mark, "hard": settings.hard_mark, "reserve": settings.reserve_mark}
        self._loop = asyncio.get_running_loop()
        self._asked_s = float("-inf")
        self._total_bytes = self._free_bytes = 1
        self._level = ""
        #: while more than this is free, the level stays as it is
        self._enough_bytes = float("inf")

    def add(self, size_bytes: int) -> None:
        """Something was written."""
        self._free_bytes -= size_bytes

    @property
    def level(self) -> str:
        """The highest mark that is reached: "soft", "hard" or "reserve", empty below all."""
        now_s = self._loop.time()
        if self._free_bytes > self._enough_bytes and now_s - self._asked_s <= BELIEVED_S:
            return self._level
        if now_s - self._asked_s > BELIEVED_S:
            self._asked_s = now_s
            self._total_bytes, self._free_bytes = self._disk.room_bytes()
            metrics.disk_bytes.labels("total").set(self._total_bytes)
            metrics.disk_bytes.labels("free").set(self._free_bytes)
        used = 1 - self._free_bytes / self._total_bytes
        level = next((mark for mark, share in reversed(self._marks.items()) if used >= share), "")
        next_share = min((share for share in self._marks.values() if used < share), default=0.0)
        self._enough_bytes = (1 - next_share) * self._total_bytes
        if level != self._level:
            if self._marks.get(level, 0.0) > self._marks.get(self._level, 0.0):
                log.warning("disk.filled", mark=level, free_bytes=self._free_bytes)
            else:
                log.warning("disk.freed", mark=level, free_bytes=self._free_bytes)
            self._level = level
        return level

    def check(self, *, is_for_others: bool = False) -> None:
        """Raise StoreFull when there is no room for new contents. is_for_others: or for hints."""
        level = self.level
        if level in ("hard", "reserve") or (level and is_for_others):
            raise StoreFull(
                f"the disk is filled to its {level} mark ({self._marks[level]:.0%}); it takes new contents again when "
                "space is freed",
                mark=level, free_bytes=self._free_bytes,
            )  # fmt: skip

    def check_reserve(self) -> None:
        """Raise StoreFull when there is room for nothing that does not free space."""
        if self.level == "reserve":
            raise StoreFull("the disk is filled to its last reserve", mark="reserve", free_bytes=self._free_bytes)
