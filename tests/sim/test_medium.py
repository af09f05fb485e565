"""The simulated platter and network do the harm they are there for."""

import asyncio
import random

import pytest

from dynafs.errors import StoreFull
from dynafs.sim.loop import Life, run_virtually
from dynafs.sim.medium import SECTOR_SIZE_BYTES, Platter, PlatterFile
from dynafs.sim.network import Network, NetworkConditions
from dynafs.sim.trace import Trace

SYNCED, UNSYNCED = b"a" * SECTOR_SIZE_BYTES, b"b" * 4 * SECTOR_SIZE_BYTES


def test_power_cut_keeps_what_was_synced_and_any_part_of_the_rest(rng: random.Random) -> None:
    """The unsynced write is lost, kept, cut short, and torn with holes; the synced one is always there."""
    outcomes = set()
    for _ in range(200):
        platter = Platter(rng)
        file = platter.files[1] = PlatterFile(platter)
        file.write([memoryview(SYNCED)], 0)
        file.sync()
        file.write([memoryview(UNSYNCED)], len(SYNCED))
        platter.cut_power()
        assert file.content[: len(SYNCED)] == SYNCED
        rest = bytes(file.content[len(SYNCED) :])
        outcomes.add("lost" if not rest else "whole" if rest == UNSYNCED else "holes" if b"\0" in rest else "short")
    assert outcomes == {"lost", "whole", "holes", "short"}


def test_power_cut_keeps_some_first_batches_of_the_index(rng: random.Random) -> None:
    """Never a later batch without an earlier one."""
    kept = set()
    for _ in range(100):
        platter = Platter(rng)
        for number in range(4):
            batch = platter.index.batch()
            batch.put("records", b"%d" % number, b"v")
            platter.index.apply(batch)
            if number == 0:
                platter.index.sync()
        platter.cut_power()
        left = sorted(platter.index.tables["records"])
        assert left == [b"%d" % number for number in range(len(left))]
        kept.add(len(left))
    assert kept == {1, 2, 3, 4}


def test_full_and_failing_platter_say_so() -> None:
    """No write is taken in silence that is not kept."""
    platter = Platter(random.Random(1))
    file = PlatterFile(platter)
    platter.is_full = True
    assert file.write([memoryview(UNSYNCED)], 0) == len(UNSYNCED) // 2
    with pytest.raises(OSError, match="No space"):
        file.write([memoryview(b"x")], 0)
    with pytest.raises(StoreFull):
        platter.index.apply(platter.index.batch())
    platter.sync_failures = 1
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()
    assert file.synced == b""


class Ear:
    """Hears what arrives."""

    def __init__(self, life: Life) -> None:
        self.life, self.heard, self.resets = life, [], []

    def on_message(self, source: str, source_life: int, data: bytes) -> None:
        self.heard.append(data)

    def on_reset(self, peer: str, peer_life: int) -> None:
        self.resets.append((peer, peer_life))


def exchange(conditions: NetworkConditions, act, count: int = 300) -> tuple[Ear, Ear]:
    """Send numbered messages from a to b while `act` is done to the network."""

    async def main() -> tuple[Ear, Ear]:
        network = Network(7, conditions, Trace(asyncio.get_running_loop().time))
        a, b = Ear(Life("a", 1)), Ear(Life("b", 1))
        network.attach(a)
        network.attach(b)
        act(network)
        for number in range(count):
            network.send(a.life, "b", 1, b"%d" % number)
            await asyncio.sleep(0.001)
        await asyncio.sleep(60)
        return a, b

    return run_virtually(main())


def test_network_loses_repeats_and_reorders() -> None:
    """As often as it is told to."""
    _, b = exchange(NetworkConditions(lost=0.2, repeated=0.2, late=0.05), lambda network: None)
    numbers = [int(data) for data in b.heard]
    assert 180 < len(set(numbers)) < 290
    assert len(numbers) > len(set(numbers))
    assert numbers != sorted(numbers)


def test_cuts_have_a_direction() -> None:
    """What is cut one way still works the other way, and a healed link works again."""
    _, b = exchange(NetworkConditions(), lambda network: network.cut(["a"], ["b"]))
    assert b.heard == []
    _, b = exchange(NetworkConditions(), lambda network: network.cut(["b"], ["a"]))
    assert len(b.heard) == 300


def test_message_for_a_life_that_is_over_is_answered_with_a_reset_unless_the_power_is_off() -> None:
    """A killed process is noticed at once, a dark host only by its silence."""
    a, b = exchange(NetworkConditions(), lambda network: network.detach("b", is_dark=False), count=3)
    assert b.heard == []
    assert set(a.resets) == {("b", 1)}
    a, b = exchange(NetworkConditions(), lambda network: network.detach("b", is_dark=True), count=3)
    assert (a.resets, b.heard) == ([], [])
