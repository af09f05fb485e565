"""Listing rows: kept by every write, found without a step over every tombstone, without contents."""

import asyncio
import random

import pytest

from dynafs.causality import Stamp
from dynafs.errors import StoreCorrupt
from dynafs.files import Record, Version, VersionKind
from dynafs.sim.medium import Platter, PlatterIndex
from dynafs.storage.disk import Batch
from dynafs.storage.listing import list_records
from dynafs.storage.live import build_live, note_live
from dynafs.wire.records import encode_record, listing_row

FILE, TOMBSTONE = (
    encode_record(Record.of({}, [Version(Stamp(1, "a"), kind, inline=b"contents")])) for kind in VersionKind
)
ROW = listing_row(FILE)
PREFIXES, DELIMITERS = ("", "a", "a/", "b/1"), ("", "/")


def expected(held: dict[str, bytes], prefix: str, delimiter: str, after: str) -> list[str]:
    """Return the paths of a page: all that have contents, the first one of each common prefix."""
    found: list[str] = []
    proved: set[str] = set()
    for path in sorted(held):
        if not path.startswith(prefix) or path <= after or held[path] != FILE:
            continue
        cut = path.find(delimiter, len(prefix)) if delimiter else -1
        if cut >= 0 and path[: cut + 1] in proved:
            continue
        if cut >= 0:
            proved.add(path[: cut + 1])
        found.append(path)
    return found


async def check(store, held: dict[str, bytes], rng: random.Random) -> None:
    for prefix in PREFIXES:
        for delimiter in DELIMITERS:
            after, limit = rng.choice(["", *held]), rng.choice([1, 3, 1000])
            page = await store.list_records("bucket", prefix, delimiter, after.encode(), limit, is_live=True)
            right = expected(held, prefix, delimiter, after)
            assert [row.path for row in page.records] == right[:limit]
            assert all(row.data == ROW for row in page.records)
            assert page.is_end == (len(right) <= limit)


async def test_live_names_follow_every_write_and_survive_reopening(box, rng: random.Random) -> None:
    """After any puts, deletes and removals a page has what the records say, also in a store opened again."""
    store = box.open()
    held: dict[str, bytes] = {}
    for _ in range(5):
        for _ in range(60):
            path = f"{rng.choice('ab')}/{rng.randrange(4)}" if rng.random() < 0.7 else f"a{rng.randrange(60):02}"
            data = rng.choice([FILE, TOMBSTONE, TOMBSTONE, b""])
            writes = [store.put_record(b"%s\0%s" % (bucket, path.encode()), data) for bucket in (b"bucket", b"c")]
            await asyncio.gather(*writes)
            held[path] = data
        await check(store, held, rng)
        if rng.random() < 0.5:
            await box.close()
            store = box.open()
            await check(store, held, rng)


async def test_index_from_before_live_names_is_completed_when_it_is_opened(box, rng: random.Random) -> None:
    """A data directory written without them lists the same."""
    store = box.open()
    held = {f"a/{number:03}": rng.choice([FILE, TOMBSTONE]) for number in range(50)}
    for path, data in held.items():
        await store.put_record(b"bucket\0" + path.encode(), data)
    await store.put_fact("live", b"")
    await box.close()
    store = box.open()
    await check(store, held, rng)


async def test_rows_of_an_earlier_format_are_replaced_when_the_index_is_opened(box, rng: random.Random) -> None:
    """A data directory whose live names have no rows lists the same."""
    store = box.open()
    held = {f"a/{number:03}": rng.choice([FILE, TOMBSTONE]) for number in range(50)}
    for path, data in held.items():
        await store.put_record(b"bucket\0" + path.encode(), data)
    box.rows.put("live", {b"bucket\0" + path.encode(): b"" for path, data in held.items() if data == FILE})
    await store.put_fact("live", b"1")
    await box.close()
    await check(box.open(), held, rng)


@pytest.mark.parametrize("flipped", [0, 2, len(FILE) - 8])
def test_damaged_record_and_damaged_row_are_blamed_on_the_disk(flipped: int) -> None:
    """A rebuild keeps the damage of a record visible, and a page checks the row that it shows."""
    rotten = bytearray(FILE)
    rotten[flipped] ^= 1
    index = PlatterIndex(Platter(random.Random(1)))
    batch = index.batch()
    batch.put("records", b"bucket\0a", FILE)
    batch.put("records", b"bucket\0b", bytes(rotten))
    index.apply(batch)
    build_live(index)
    assert [row.path for row in list_records(index, "bucket", "", "", b"", 1, is_live=True).records] == ["a"]
    with pytest.raises(StoreCorrupt):
        list_records(index, "bucket", "", "", b"", 2, is_live=True)
    batch = index.batch()
    batch.put("live", b"bucket\0a", ROW[:-1] + b"\0")
    index.apply(batch)
    with pytest.raises(StoreCorrupt):
        list_records(index, "bucket", "", "", b"", 1, is_live=True)


def test_contents_are_not_part_of_a_page() -> None:
    """A page of large inline files is as small as one of empty files: no page ends early because of them."""
    index = PlatterIndex(Platter(random.Random(1)))
    batch = index.batch()
    for number in range(200):
        version = Version(Stamp(number, "a"), VersionKind.FILE, size_bytes=65536, inline=bytes(65536))
        data, key = encode_record(Record.of({}, [version])), b"bucket\0%04d" % number
        batch.put("records", key, data)
        note_live(batch, key, data)
    index.apply(batch)
    page = list_records(index, "bucket", "", "", b"", 1000, is_live=True)
    assert (len(page.records), page.is_end) == (200, True)
    assert max(len(row.data) for row in page.records) < 200


class StoppingIndex(PlatterIndex):
    """Ends like a process that is killed before one of its next batches."""

    batches_left = 1 << 30

    def apply(self, batch: Batch) -> None:
        if not self.batches_left:
            raise KeyboardInterrupt
        self.batches_left -= 1
        super().apply(batch)


def test_build_that_is_broken_off_is_made_again() -> None:
    """An operator's rebuild that is killed anywhere leaves no name out of what is listed afterwards."""
    index = StoppingIndex(Platter(random.Random(1)))
    batch = index.batch()
    for number in range(3000):
        batch.put("records", b"bucket\0%04d" % number, FILE if number % 2 else TOMBSTONE)
    index.apply(batch)
    build_live(index)
    names = list(index.scan("live", b""))
    assert len(names) == 1500
    stops = 0
    while True:
        index.batches_left = stops
        try:
            build_live(index, is_forced=True)
        except KeyboardInterrupt:
            index.batches_left = 1 << 30
            build_live(index)
            assert list(index.scan("live", b"")) == names
            stops += 1
        else:
            break
    assert stops > 5


class CountingIndex(PlatterIndex):
    """Counts the rows that are read."""

    rows_read = 0

    def scan(self, family: str, start: bytes):
        scan = super().scan(family, start)
        jump = None
        while True:
            try:
                row = scan.send(jump)
            except StopIteration:
                return
            self.rows_read += 1
            jump = yield row


def test_tombstones_before_and_between_names_cost_a_few_rows_each() -> None:
    """A page reads about as much behind five thousand tombstones as behind none, with and without a delimiter."""
    index = CountingIndex(Platter(random.Random(1)))
    batch = index.batch()
    for number in range(5000):
        for folder in ("a", "b", "c"):
            key = b"bucket\0%s/%05d" % (folder.encode(), number)
            data = FILE if folder == "b" and number % 1000 == 0 else TOMBSTONE
            batch.put("records", key, data)
            note_live(batch, key, data)
    index.apply(batch)
    for prefix, delimiter, right in (("", "", 5), ("", "/", 1), ("b/", "", 5), ("b/", "/", 5), ("a/", "", 0)):
        index.rows_read = 0
        page = list_records(index, "bucket", prefix, delimiter, b"", 1000, is_live=True)
        assert len(page.records) == right
        assert index.rows_read <= 100
