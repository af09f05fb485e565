"""Quorum numbers and what they promise."""

from dataclasses import dataclass, replace
from enum import Enum

from dynafs.errors import PolicyRefused


class Verdict(Enum):
    """PENDING: replies still to come could decide either way. MET: enough. LOST: enough has become impossible."""

    PENDING = "pending"
    MET = "met"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class QuorumPolicy:
    """n copies, r owners asked by a read, w owners that must hold a write.

    is_available: fallbacks count like the owners they stand in for, so reads need not meet writes.
    """

    n: int
    r: int
    w: int
    is_available: bool = False

    def check(self) -> None:
        """Raise PolicyRefused unless 1 <= r, w <= n and, for strong ones, r + w > n: every read meets every write."""
        for field, value in (("r", self.r), ("w", self.w)):
            if not 1 <= value <= self.n:
                raise PolicyRefused(field, f"use 1 to {self.n} (the number of copies), not {value}", n=self.n)
        if self.r + self.w <= self.n and not self.is_available:
            raise PolicyRefused(
                "r,w",
                f"r={self.r} and w={self.w} do not overlap on {self.n} copies, so a read could miss a confirmed write; "
                f"r + w must be above {self.n}",
                n=self.n, r=self.r, w=self.w,
            )  # fmt: skip

    def override(self, r: int | None, w: int | None) -> "QuorumPolicy":
        """Return the policy of one request. Raises PolicyRefused unless it asks for at least what the bucket does: a
        lower r or w could miss, or be missed by, another request that lowered the other one. Available ones promise
        nothing of the kind and may ask for less."""
        asked = replace(self, r=self.r if r is None else r, w=self.w if w is None else w)
        if self.is_available:
            asked.check()
            return asked
        for field, value, least in (("r", asked.r, self.r), ("w", asked.w, self.w)):
            if not least <= value <= self.n:
                raise PolicyRefused(
                    field, f"use {least} (the bucket's {field}) to {self.n} (the number of copies), not {value}",
                    n=self.n, r=self.r, w=self.w,
                )  # fmt: skip
        return asked
