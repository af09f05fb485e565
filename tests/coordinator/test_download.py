"""What a download reads, and what it holds meanwhile. In virtual time, with chunks from a list."""

import asyncio
import itertools

from hypothesis import given
from hypothesis import strategies as st

from dynafs.admission.budget import ByteBudget
from dynafs.admission.reservation import Client, Reservation
from dynafs.causality import Stamp
from dynafs.coordinator.download import SLOW_S, Download
from dynafs.files import FileName, Manifest, Version, VersionKind
from dynafs.files.ranges import ByteRange, merge_ranges
from dynafs.sim.loop import run_virtually

CHUNK = 8
NAME = FileName("demo", "f")


class Chunks:
    """A source that counts what is read. The ids of its chunks are their numbers."""

    chunks_ahead = 2

    def __init__(self, contents: bytes, budget_bytes: int = 1000) -> None:
        self.contents, self.reads = contents, list[int]()
        self.budget = ByteBudget("test", budget_bytes, 10.0)
        count = -(-len(contents) // CHUNK)
        manifest = Manifest(CHUNK, b"".join(number.to_bytes(32, "big") for number in range(count)))
        self.version = Version(Stamp(1, "a"), VersionKind.FILE, size_bytes=len(contents), manifest=manifest)

    async def chunk_ids(self, name: FileName, version: Version, first: int, stop: int) -> tuple[bytes, ...]:
        return version.manifest.listed()[first:stop]

    async def read_chunk(self, name: FileName, version: Version, chunk_id: bytes) -> bytes:
        number = int.from_bytes(chunk_id, "big")
        self.reads.append(number)
        return self.contents[number * CHUNK : (number + 1) * CHUNK]

    async def take(self, size_bytes: int, client: Client | None = None, *, has_begun: bool = False) -> Reservation:
        return await self.budget.take(size_bytes, client)

    def try_take(self, size_bytes: int, client: Client | None = None) -> Reservation | None:
        return self.budget.try_take(size_bytes, client)


class Taker:
    """A client that takes as long as a test says."""

    def __init__(self, address: str = "a") -> None:
        self.address, self.total_s = address, 0.0

    def waited_s(self) -> float:
        return self.total_s

    def lag_s(self) -> float:
        return 0.0

    def cut(self) -> None:
        raise AssertionError


@given(
    size=st.integers(1, 100),
    marks=st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30)), min_size=1, max_size=16),
)
def test_ranges_read_every_chunk_once(size: int, marks: list[tuple[int, int]]) -> None:
    """Each range has its bytes, and a chunk that many ranges touch is read once and held once."""
    contents = bytes(range(size))
    ranges = merge_ranges([ByteRange(a % size, min(a % size + length, size)) for a, length in marks])

    async def main() -> None:
        source = Chunks(contents)
        download = Download(source, NAME, source.version, ranges)
        await download.begin()
        got = dict.fromkeys(range(len(ranges)), b"")
        async for number, data in download.pieces():
            got[number] += data
            assert source.budget.held_bytes <= (1 + source.chunks_ahead) * CHUNK
        assert list(got.values()) == [contents[start:stop] for start, stop in ranges]
        assert source.reads == sorted({byte // CHUNK for start, stop in ranges for byte in range(start, stop)})
        assert source.budget.held_bytes == 0

    run_virtually(main())


def test_slow_client_keeps_only_the_chunk_at_hand() -> None:
    """What was fetched ahead goes back while it takes long, and comes again, in order, when it is its turn."""

    async def main() -> None:
        source, taker = Chunks(bytes(range(80))), Taker()
        download = Download(source, NAME, source.version, [(0, 80)], taker)
        await download.begin()
        got = b""
        async for _, data in download.pieces():
            await asyncio.sleep(0)
            if len(got) == 2 * CHUNK:
                assert source.budget.held_bytes == 3 * CHUNK
                download.drop_ahead()
                assert source.budget.held_bytes == 3 * CHUNK  # not slow yet
                taker.total_s += SLOW_S
                download.drop_ahead()
            if len(got) in (2 * CHUNK, 3 * CHUNK):
                assert source.budget.held_bytes == CHUNK
            got += data
        assert got == source.contents
        assert source.budget.held_bytes == 0

    run_virtually(main())


def test_download_gives_its_place_to_an_address_that_has_none() -> None:
    """One that holds much goes to the end of the line at its next chunk; one that is alone goes on."""

    async def main() -> None:
        source = Chunks(bytes(range(80)), budget_bytes=2 * CHUNK)
        downloads = [Download(source, NAME, source.version, [(0, 80)], Taker("many")) for _ in range(2)]
        served = list[str]()

        async def read(download: Download, name: str) -> None:
            await download.begin()
            async for _ in download.pieces():
                served.append(name)
                await asyncio.sleep(1)

        tasks = [asyncio.create_task(read(one, "many")) for one in downloads]
        await asyncio.sleep(0.5)
        other = Download(source, NAME, source.version, [(0, 16)], Taker("other"))
        tasks.append(asyncio.create_task(read(other, "other")))
        await asyncio.gather(*tasks)
        assert "other" in served[:4]
        assert [name for name, _ in itertools.groupby(sorted(served))] == ["many", "other"]
        assert (served.count("many"), served.count("other")) == (20, 2)
        assert source.budget.held_bytes == 0

    run_virtually(main())
