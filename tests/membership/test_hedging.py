"""Hedges: late reads go to a further owner, but only a share of them, and none from a node that is late itself."""

import asyncio
import time

from aiohttp import ClientSession

from dynafs.membership.hedging import BURST, LAG_MAX_S, SHARE, Hedges
from dynafs.sim.loop import run_virtually


class _Read:
    """Waits until it is decided; notes when it is late."""

    def __init__(self) -> None:
        self.is_decided = False
        self.late: list[float] = []

    def on_late(self, due_s: float) -> None:
        self.late.append(due_s)


def test_reads_earn_a_bounded_share_of_hedges() -> None:
    """A burst is there from the start; after it, one hedge for twenty reads, and not more than a burst is kept."""

    async def main() -> None:
        now_s = asyncio.get_running_loop().time()
        hedges = Hedges(asyncio.get_running_loop())
        assert sum(hedges.admit(now_s) for _ in range(1000)) == BURST
        for _ in range(1000):
            hedges.count_read()
        assert abs(sum(hedges.admit(now_s) for _ in range(1000)) - 1000 * SHARE) <= 1
        for _ in range(1_000_000):
            hedges.count_read()
        assert sum(hedges.admit(now_s) for _ in range(1000)) == BURST

    run_virtually(main())


def test_node_without_reads_earns_a_hedge_a_second() -> None:
    """So a node with few clients still has some when one owner is slow."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        hedges = Hedges(loop)
        while hedges.admit(loop.time()):
            pass
        await asyncio.sleep(3.5)
        assert sum(hedges.admit(loop.time()) for _ in range(10)) == 3

    run_virtually(main())


def test_late_node_sends_no_hedge() -> None:
    """Its answers may be here already. A refused hedge costs nothing of the budget."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        hedges = Hedges(loop)
        assert not hedges.admit(loop.time() - 2 * LAG_MAX_S)
        assert sum(hedges.admit(loop.time()) for _ in range(1000)) == BURST

    run_virtually(main())


def test_each_read_is_late_once_and_in_time() -> None:
    """Decided ones are left alone, whatever stands before and behind them."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        hedges, reads, began_s = Hedges(loop), [_Read() for _ in range(4)], loop.time()
        for number, read in enumerate(reads):
            hedges.watch(read, began_s + 1.0 + number)
        reads[0].is_decided = reads[2].is_decided = True
        await asyncio.sleep(10.0)
        assert [read.late for read in reads] == [[], [began_s + 2.0], [], [began_s + 4.0]]
        again = _Read()
        hedges.watch(again, loop.time() + 1.0)
        await asyncio.sleep(2.0)
        assert len(again.late) == 1

    run_virtually(main())


async def test_reads_past_a_frozen_owner_are_fast_and_then_begin_elsewhere(cluster, session: ClientSession) -> None:
    """The first reads cost a hedge each; soon the owner that does not answer is asked last, and no hedge is needed."""
    async with session.put(cluster.file_url("demo/a"), data=b"x") as response:
        assert response.status == 201

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    cluster.nodes["n2"].listener.handler = never
    hedges = cluster.nodes["n1"].replication.cluster.hedges
    began_s = time.monotonic()
    for _ in range(20):
        async with session.get(cluster.file_url("demo/a")) as response:
            assert (response.status, await response.read()) == (200, b"x")
    assert time.monotonic() - began_s < 2.0
    assert 1 <= hedges.sent <= 5
    async with session.get(f"{cluster.url()}/metrics") as response:
        assert 'dynafs_hedges_total{outcome="sent"}' in await response.text()
