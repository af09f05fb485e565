"""Who gets room in a byte budget, in which order, and who has to give it up. All in virtual time."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.admission.budget import ByteBudget
from dynafs.admission.reservation import HOLD_S_MAX, LAG_S_MAX, Reservation
from dynafs.admission.sharing import Claim, is_safe
from dynafs.errors import Overloaded
from dynafs.sim.loop import run_virtually


class Caller:
    """A client that is waited for all the time, or never, and `lag_share` of that time too slow."""

    def __init__(self, address: str, *, is_waited_for: bool = False, lag_share: float = 0.0) -> None:
        self.address, self.is_waited_for, self.lag_share = address, is_waited_for, lag_share
        self.began_s = asyncio.get_running_loop().time()
        self.cut_s: float | None = None
        self.holding: Reservation | None = None

    def waited_s(self) -> float:
        return (asyncio.get_running_loop().time() - self.began_s) * self.is_waited_for

    def lag_s(self) -> float:
        return self.waited_s() * self.lag_share

    def cut(self) -> None:
        self.cut_s = asyncio.get_running_loop().time() - self.began_s
        if self.holding is not None:
            asyncio.get_running_loop().call_soon(self.holding.release)


async def upload(budget: ByteBudget, address: str, chunk: int, pieces: list[int]) -> None:
    """Fill chunks of one size piece by piece; a full one is stored and given back."""
    with budget.open(chunk, Caller(address)) as seat:
        filled = 0
        for piece in pieces:
            left = piece
            while left:
                taken = min(left, chunk - filled)
                if not seat.try_grow(taken):
                    await seat.grow(taken)
                assert 0 <= budget.held_bytes <= budget.size_bytes
                filled, left = filled + taken, left - taken
                await asyncio.sleep(0.01)
                if filled == chunk:
                    filled = 0
                    seat.empty()
        await asyncio.sleep(0.01)


@given(
    size=st.integers(16, 64),
    uploads=st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from([4, 8, 16]), st.lists(st.integers(1, 12), min_size=1, max_size=12)
        ),
        min_size=1,
        max_size=24,
    ),
)
def test_a_full_budget_is_no_deadlock(size: int, uploads: list[tuple[str, int, list[int]]]) -> None:
    """However many uploads fill chunks of whichever sizes at once, all of them end, without waiting for a timeout."""

    async def main() -> float:
        budget = ByteBudget("test", size, 1000.0)
        await asyncio.gather(*(upload(budget, *one) for one in uploads))
        assert budget.held_bytes == 0
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) < 100


@given(free=st.integers(0, 20), claims=st.lists(st.tuples(st.sampled_from([4, 8, 16]), st.integers(0, 16)), max_size=5))
def test_safe_means_that_some_order_completes_all(free: int, claims: list[tuple[int, int]]) -> None:
    """The rule by groups says what trying every order says."""
    holders = [Claim(whole, min(held, whole)) for whole, held in claims]

    def completes(order: tuple[Claim, ...]) -> bool:
        left = free
        for whole, held in order:
            if whole - held > left:
                return False
            left += held
        return True

    assert is_safe(free, holders) == any(map(completes, itertools.permutations(holders)))


def test_one_byte_uploads_leave_the_room_to_others() -> None:
    """A holder has the bytes that came, whatever it will need."""

    async def main() -> None:
        budget = ByteBudget("test", 80, 10.0)
        for _ in range(40):
            seat = budget.open(16, Caller("stranger", is_waited_for=True))
            assert seat.try_grow(1)
        for _ in range(30):
            (await budget.take(1, Caller("honest"))).release()
        await upload(budget, "honest", 16, [16] * 10)
        assert asyncio.get_running_loop().time() < 1

    run_virtually(main())


def test_holder_that_is_about_to_complete_gets_what_is_left() -> None:
    """Growth that would leave nobody able to complete waits; growth that completes does not."""

    async def main() -> None:
        budget = ByteBudget("test", 12, 10.0)
        first, second, third = (budget.open(8) for _ in range(3))
        assert first.try_grow(4)
        assert second.try_grow(4)
        assert not third.try_grow(1)  # nobody could complete with the three bytes that would be left
        assert first.try_grow(4)
        waiting = asyncio.create_task(second.grow(2))
        await asyncio.sleep(1)
        assert not waiting.done()
        first.release()
        await waiting
        assert second.held_bytes == 6

    run_virtually(main())


def test_address_that_holds_least_is_served_first() -> None:
    """Many requests of one address wait behind one of another, and requests of one address go in order."""

    async def main() -> None:
        budget = ByteBudget("test", 4, 10.0)
        held = [await budget.take(1, Caller("many")) for _ in range(4)]
        served: list[str] = []

        async def ask(name: str, address: str) -> None:
            holding = await budget.take(1, Caller(address))
            served.append(name)
            await asyncio.sleep(1)
            holding.release()

        tasks = [asyncio.create_task(ask(f"many {i}", "many")) for i in range(3)]
        await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(ask("one", "one")))
        await asyncio.sleep(0.01)
        assert held[0].is_wanted
        for holding in held:
            holding.release()
        await asyncio.gather(*tasks)
        assert served == ["one", "many 0", "many 1", "many 2"]

    run_virtually(main())


def test_one_address_may_hold_everything_while_it_is_alone() -> None:
    """There is no share to keep free for others that are not there."""

    async def main() -> None:
        budget = ByteBudget("test", 64, 10.0)
        held = [await budget.take(1, Caller("alone")) for _ in range(64)]
        assert budget.held_bytes == 64
        assert asyncio.get_running_loop().time() == 0
        assert not held[0].is_wanted

    run_virtually(main())


@pytest.mark.parametrize(
    ("holder", "lag_share", "is_cut", "within_s"),
    [("stranger", 1.0, True, 2.0), ("stranger", 0.0, True, HOLD_S_MAX + 1), ("many others", 1.0, True, LAG_S_MAX + 1),
     ("many others", 0.0, False, 0)],
    ids=["one address, stalled", "one address, slow", "many addresses, stalled", "many addresses, slow"],
)  # fmt: skip
def test_clients_that_do_not_move_give_way(holder: str, lag_share: float, is_cut: bool, within_s: float) -> None:
    """Stalled clients are cut when others wait. Slow ones only if their address holds more than its share."""

    async def main() -> None:
        budget = ByteBudget("test", 8, 10.0)
        callers = []
        for i in range(8):
            address = holder if holder == "stranger" else f"{holder} {i}"
            caller = Caller(address, is_waited_for=True, lag_share=lag_share)
            caller.holding = await budget.take(1, caller)
            callers.append(caller)
        if not is_cut:
            with pytest.raises(Overloaded):
                await budget.take(1, Caller("honest"))
            assert all(caller.cut_s is None for caller in callers)
            return
        await budget.take(1, Caller("honest"))
        assert asyncio.get_running_loop().time() <= within_s
        assert sum(caller.cut_s is not None for caller in callers) == 1  # no more than is needed

    run_virtually(main())


def test_clients_that_do_not_move_stay_while_nothing_waits() -> None:
    """Memory that nothing else wants may be held."""

    async def main() -> None:
        budget = ByteBudget("test", 8, 10.0)
        caller = Caller("slow", is_waited_for=True, lag_share=1.0)
        caller.holding = await budget.take(8, caller)
        await asyncio.sleep(100)
        assert caller.cut_s is None

    run_virtually(main())


def test_waiting_ends_with_the_timeout_or_the_request() -> None:
    """What waits in vain is refused, what is cancelled leaves the line, and the next one gets its turn."""

    async def main() -> None:
        budget = ByteBudget("test", 4, 10.0)
        held = await budget.take(3)
        cancelled = asyncio.create_task(budget.take(4))
        await asyncio.sleep(1)
        small = asyncio.create_task(budget.take(1))
        await asyncio.sleep(1)
        assert not small.done()  # no overtaking: the large one would wait for ever
        cancelled.cancel()
        await asyncio.sleep(0.01)
        assert small.done()
        with pytest.raises(Overloaded):
            await budget.take(2)
        assert 11 < asyncio.get_running_loop().time() < 13
        held.release()
        held.release()
        small.result().release()
        assert budget.held_bytes == 0

    run_virtually(main())


def test_more_than_all_is_all() -> None:
    """A chunk larger than the budget takes the whole of it and goes on."""

    async def main() -> None:
        budget = ByteBudget("test", 4, 10.0)
        await upload(budget, "a", 16, [5, 5, 6])
        holding = await budget.take(9)
        assert (holding.held_bytes, budget.held_bytes) == (4, 4)

    run_virtually(main())
