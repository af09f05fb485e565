"""Listings: every node's rows of files with contents, merged at R, prefixes folded.

Problem: a tombstone at one owner may hide an older version at another, and there may be thousands of tombstones before
the first file.

Rule: nodes leave tombstones out. A version that was acknowledged, and not replaced, is with one of any R owners, so a
name that none of them lists is no file. A name that R owners list alike, W of them in its newest version, is one. About
a name in between, the owners that do not list it are asked for their rows, many names at once; what fewer than W hold
is read with repair. A row counts only from an owner of its partition.

Each node's page is complete up to its last row (or its end), and inside a common prefix up to the row behind which it
skipped. So a row is decided as soon as every page reaches it; what lies behind waits for the next round. A round that
shows nothing makes the next one larger, and one that ends inside a prefix makes the next one skip nothing.

Paths are compared as text: code points sort as their UTF-8 does. Positions are bytes, since `BEHIND` is no text.
"""

from bisect import bisect_right
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from dynafs.coordinator.records import ReplicatedRecords
from dynafs.coordinator.row_pages import BEHIND, Page, PageSource
from dynafs.files import FileName, Record, Version
from dynafs.files.name import common_prefix
from dynafs.files.version import EMPTY
from dynafs.membership.cluster import Cluster
from dynafs.quorum import QuorumPolicy, QuorumWrite, Verdict
from dynafs.ring import file_hash
from dynafs.ring.view import RingView
from dynafs.wire.listing_messages import ListRecords

#: By how much a round that shows nothing makes the next one larger.
GROWTH = 8


class Listing(NamedTuple):
    """One page. after: where the next page begins, None at the end. siblings: {path: versions beside the listed one},
    of the files that have any."""

    files: list[tuple[str, Version]]
    prefixes: list[str]
    after: bytes | None
    siblings: dict[str, int]


class _Round(NamedTuple):
    """The pages of one position, and by which view and policy they are merged."""

    asked: ListRecords
    pages: list[Page]
    view: RingView
    policy: QuorumPolicy


class _Candidate(NamedTuple):
    """A name that some node lists. known: {node: its record}. agreed: what is listed without a look at `known`."""

    path: str
    place: bytes
    known: dict[str, Record]
    agreed: Version | None = None


class ListingReader:
    """Lists buckets and files."""

    def __init__(self, cluster: Cluster, records: ReplicatedRecords, rows_max: int) -> None:
        self._cluster, self._records, self._rows_max = cluster, records, rows_max
        self._source = PageSource(cluster)

    async def page(
        self, bucket: str, prefix: str, delimiter: str, after: bytes, limit: int, policy: QuorumPolicy
    ) -> Listing:
        """Return up to `limit` files and folded prefixes behind `after`. Raises ReadQuorumLost when a partition has
        fewer than R owners among the nodes that answer."""
        draft = _Draft(prefix, delimiter, limit)
        position: bytes | None = after
        rows, is_skipping = limit + 1, True
        while position is not None and not draft.is_full:
            rows, room = min(rows, self._rows_max), draft.room
            asked = ListRecords(bucket, prefix, delimiter if is_skipping else "", position, rows, is_live=True)
            pages, view = await self._cluster.in_view(partial(self._source.pages, asked, policy.r))
            position, is_skipping = await self._merge(_Round(asked, pages, view, policy), draft)
            rows = draft.room + 1 if draft.room < room else rows * GROWTH
        return Listing(draft.files, draft.prefixes, position, draft.siblings)

    async def _merge(self, of: _Round, draft: "_Draft") -> tuple[bytes | None, bool]:
        """Take over what these pages decide; return where to go on, None at the end, and whether nodes may skip there:
        not inside a prefix of which none of them showed a file so far."""
        horizon = min((page.horizon for page in of.pages if page.horizon is not None), default=None)
        paths = sorted(set().union(*(page.records for page in of.pages)))
        if horizon is not None:
            del paths[bisect_right(paths, horizon, key=str.encode) :]
        decided, group, is_shown = of.asked.after, "", False
        for one in await self._candidates(of, paths):
            folded = draft.fold(one.path)
            if folded != group:
                if not is_shown and _has_gap(of.pages, group):
                    return decided, False
                group, is_shown = folded, False
            if is_shown:
                continue
            if draft.is_full:
                return decided, True
            if folded and any(page.gaps.get(folded, one.path) < one.path for page in of.pages):
                return decided, False
            files = await self._decide(of, one) if one.agreed is None else (one.agreed,)
            decided = one.path.encode()
            if files:
                is_shown = bool(folded)
                draft.show(one.path, folded, files)
                decided = folded.encode() + BEHIND if folded else decided
        if not is_shown and _has_gap(of.pages, group):
            return decided, False
        return None if horizon is None else max(horizon, decided), True

    async def _candidates(self, of: _Round, paths: list[str]) -> list[_Candidate]:
        """Return the names that nodes list, with what the nodes hold that decide about them, as far as they reply."""
        found: list[_Candidate] = []
        wanted: dict[str, list[_Candidate]] = {}
        agreement = _Agreement(of)
        for path in paths:
            agreed = agreement.of_all(path)
            if agreed is not None:
                found.append(_Candidate(path, b"", {}, agreed))
                continue
            place = file_hash(FileName(of.asked.bucket, path).key)
            owners = of.view.owners(place)
            known = {
                page.node: record
                for page in of.pages
                if (page.node in owners or of.policy.is_available) and (record := page.record_of(path)) is not None
            }
            found.append(_Candidate(path, place, known, agreement.of_some(known)))
            for node in _silent_on(of, found[-1]) if found[-1].agreed is None else ():
                wanted.setdefault(node, []).append(found[-1])
        if wanted:
            asked = {node: [one.path for one in some] for node, some in wanted.items()}
            rows = await self._source.rows(of.asked.bucket, asked, of.view.version)
            for node, some in wanted.items():
                for one in some if node in rows else ():
                    one.known[node] = rows[node].get(one.path, EMPTY)
        return found

    async def _decide(self, of: _Round, one: _Candidate) -> tuple[Version, ...]:
        """Return a file's versions, the newest first, none when it is deleted; what fewer than W hold is read with
        repair."""
        key = FileName(of.asked.bucket, one.path).key
        merged = _merged(one.known)
        if merged is EMPTY:
            return ()
        if of.policy.is_available:
            if _silent_on(of, one):
                merged = merged.merge(await self._records.read(key, of.policy))
            return merged.resolved().files
        newest = merged.newest
        if not _is_settled(of, one, newest):
            newest = (await self._records.read(key, of.policy)).newest
        return (newest,) if newest is not None and newest.is_file else ()


class _Draft:
    """A listing in the making."""

    def __init__(self, prefix: str, delimiter: str, limit: int) -> None:
        self._prefix, self._delimiter, self._limit = prefix, delimiter, limit
        self.files: list[tuple[str, Version]] = []
        self.prefixes: list[str] = []
        self.siblings: dict[str, int] = {}

    @property
    def room(self) -> int:
        return self._limit - len(self.files) - len(self.prefixes)

    @property
    def is_full(self) -> bool:
        return self.room <= 0

    def fold(self, path: str) -> str:
        return common_prefix(path, self._prefix, self._delimiter) if self._delimiter else ""

    def show(self, path: str, folded: str, files: tuple[Version, ...]) -> None:
        if folded:
            self.prefixes.append(folded)
            return
        self.files.append((path, files[0]))
        if len(files) > 1:
            self.siblings[path] = len(files) - 1


class _Agreement:
    """The names about which equal rows of enough owners leave nothing to ask: of R, so that no later version was
    acknowledged, and of W, so that the version stands. Only while the ring is stable, in a bucket that is not
    available."""

    def __init__(self, of: _Round) -> None:
        self._needed = max(of.policy.r, of.policy.w)
        self._is_possible = of.view.is_stable and not of.policy.is_available
        nodes = {page.node for page in of.pages}
        #: whether what all nodes list alike is listed by enough owners, whichever these are
        self._is_everywhere = self._is_possible and all(
            len(owners & nodes) >= self._needed for owners in of.view.owner_sets
        )
        self._tables = [page.records for page in of.pages]

    def of_all(self, path: str) -> Version | None:
        """Return the version that every node lists, if that is enough."""
        if not self._is_everywhere:
            return None
        first = self._tables[0].get(path)
        for table in self._tables:
            if table.get(path) is not first:
                return None
        return _newest_file(first)

    def of_some(self, known: Mapping[str, Record]) -> Version | None:
        """Return the version that the owners list of which anything is known, if these are enough."""
        if not self._is_possible or len(known) < self._needed:
            return None
        first, *others = known.values()
        return _newest_file(first) if all(record is first for record in others) else None


def _newest_file(record: Record | None) -> Version | None:
    newest = record.newest if record is not None else None
    return newest if newest is not None and newest.is_file else None


def _silent_on(of: _Round, one: _Candidate) -> list[str]:
    """Return the nodes whose rows it takes to decide about a name; none when what is known is enough, or when none but
    nodes that do not own it list it."""
    merged = _merged(one.known)
    if merged is EMPTY:
        return []
    nodes = [page.node for page in of.pages]
    owners = [node for node in nodes if node in of.view.owners(one.place)]
    if not of.policy.is_available:
        unknown = [node for node in owners if node not in one.known]
        return unknown if unknown and not _is_settled(of, one, merged.newest) else []
    if len(owners) >= of.policy.r and all(node in one.known for node in owners):
        return []
    keepers = of.view.keepers(one.place)
    return [node for node in nodes if node in keepers and node not in one.known]


def _is_settled(of: _Round, one: _Candidate, newest: Version | None) -> bool:
    """Return whether R owners are known and W hold the newest of their versions, or they hold nothing."""
    readers = of.view.readers(one.place)
    if sum(node in readers for node in one.known) < of.policy.r:
        return False
    if newest is None:
        return True
    fold = QuorumWrite(of.policy.w, *of.view.writers(one.place))
    for node, record in one.known.items():
        if record.newest is not None and record.newest.stamp == newest.stamp:
            fold.add_ack(node)
    return fold.verdict is Verdict.MET


def _merged(known: dict[str, Record]) -> Record:
    merged = EMPTY
    for record in known.values():
        # Equal rows are one object.
        if record is not merged:
            merged = record if merged is EMPTY else merged.merge(record)
    return merged


def _has_gap(pages: list[Page], group: str) -> bool:
    return bool(group) and any(group in page.gaps for page in pages)
