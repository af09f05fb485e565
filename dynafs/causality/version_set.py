"""Dotted version vector sets over anything that carries a stamp.

    context  {actor: time}   everything at or below was seen
    versions                 those seen writes that nothing seen has replaced

Merging keeps a version when both sides have it, or when the side that lacks it has not seen it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from dynafs.causality.stamp import Stamp

Context = Mapping[str, int]
#: What one entry of a context takes as msgpack besides the actor's name, at most.
ENTRY_SIZE_BYTES = 14


class Stamped(Protocol):
    """Anything a version set can hold; equal stamps mean equal contents."""

    @property
    def stamp(self) -> Stamp:
        """The write's name."""
        ...


V = TypeVar("V", bound=Stamped)


def join(left: Context, right: Context) -> dict[str, int]:
    """Return the least context that has seen all that either has seen, keys sorted."""
    joined = dict(left)
    for actor, time in right.items():
        if time > joined.get(actor, -1):
            joined[actor] = time
    return dict(sorted(joined.items()))


def covers(context: Context, stamp: Stamp) -> bool:
    """Return whether the write was seen."""
    return context.get(stamp.actor, -1) >= stamp.time


@dataclass(frozen=True, slots=True)
class VersionSet(Generic[V]):
    """What one replica knows of one file. Canonical: context by actor, versions by stamp, greatest first.

    Invariant: every version is covered by the context.
    """

    context: Context
    versions: tuple[V, ...]

    @classmethod
    def of(cls, context: Context, versions: Iterable[V]) -> Self:
        """Return the canonical set; versions the context lacks are added to it."""
        ordered = tuple(sorted(versions, key=lambda version: version.stamp, reverse=True))
        seen = join(context, {})
        for version in ordered:
            stamp = version.stamp
            seen[stamp.actor] = max(stamp.time, seen.get(stamp.actor, -1))
        return cls(dict(sorted(seen.items())), ordered)

    @property
    def newest(self) -> V | None:
        """The version with the greatest stamp: the last writer."""
        return self.versions[0] if self.versions else None

    @property
    def time_max(self) -> int:
        """The greatest hybrid time seen, 0 when nothing was."""
        return max(self.context.values(), default=0)

    def shown_context(self, size_bytes_max: int) -> dict[str, int]:
        """Return the context that a reader of this set hands on with its next write, at most `size_bytes_max` bytes of
        msgpack.

        A write must cover the versions that stand, so their actors come first. Then come the actors that wrote last: a
        replica that is behind may still hold what they replaced, and would keep it beside the write until the next
        merge. Any part of the context is safe, since it covers less than the reader has seen, and so replaces less.
        """
        standing = dict.fromkeys(version.stamp.actor for version in self.versions)
        others = sorted(self.context.keys() - standing, key=lambda actor: (self.context[actor], actor), reverse=True)
        shown, size_bytes = {}, ENTRY_SIZE_BYTES
        for actor in [*standing, *others]:
            entry_bytes = len(actor.encode()) + ENTRY_SIZE_BYTES
            if size_bytes + entry_bytes <= size_bytes_max:
                size_bytes += entry_bytes
                shown[actor] = self.context[actor]
        return dict(sorted(shown.items()))

    def merge(self, other: Self) -> Self:
        """Return the join of both. Commutative, associative, idempotent."""
        mine = {version.stamp: version for version in self.versions}
        theirs = {version.stamp: version for version in other.versions}
        kept = [v for s, v in mine.items() if s in theirs or not covers(other.context, s)]
        kept += [v for s, v in theirs.items() if s not in mine and not covers(self.context, s)]
        return type(self).of(join(self.context, other.context), kept)

    def write(self, version: V) -> Self:
        """Return the set after `version` replaced everything seen here."""
        return type(self).of(self.context, [version])

    def last_writer_wins(self) -> Self:
        """Return the set with only its newest version; the context remembers the others."""
        return type(self)(self.context, self.versions[:1])

    def absorbs(self, other: Self) -> bool:
        """Return whether merging `other` into this would change nothing."""
        context = self.context
        for actor, time in other.context.items():
            if context.get(actor, -1) < time:
                return False
        known = {version.stamp for version in other.versions}
        return not any(covers(other.context, version.stamp) and version.stamp not in known for version in self.versions)
