"""Agreeing on the ring between real nodes: decided by a majority, durable, and picky about what it is told."""

import asyncio

import pytest

from dynafs.errors import PeerRefused, RingChanged, RingUndecided
from dynafs.ring.change import Change
from dynafs.ring.plan import make_plan
from dynafs.ring.transition import RingState, Step
from dynafs.wire.ring import decode_ring_state, encode_ring_state
from dynafs.wire.ring_messages import AcceptRing, LearnRing, PrepareRing, ReadRing


def keeper(cluster, name: str):
    return cluster.nodes[name].replication.consensus


def heavier(state: RingState) -> RingState:
    plan = make_plan(state.ring, [Change("weight", "n1", weight=2.0)], state.epoch_max + 1)
    return state.moving_to(plan.after)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


def hold(cluster) -> None:
    """Let nobody take the next step by itself."""
    for node in cluster.nodes.values():
        node.replication.jobs["ring"].pause()


async def test_decision_reaches_all_and_survives_a_restart(cluster) -> None:
    """Whoever proposes, all know it soon; whoever was stopped meanwhile learns it from the others, or has kept it. What
    was begun goes on after a restart."""
    hold(cluster)
    first = keeper(cluster, "n1").state
    await cluster.stop("n3")
    moving = heavier(first)
    await keeper(cluster, "n2").propose(moving)
    assert keeper(cluster, "n1").state == moving
    with pytest.raises(RingChanged):
        await keeper(cluster, "n1").propose(heavier(first))
    await cluster.stop("n1", "n2")
    await cluster.launch("n1", "n3")
    assert keeper(cluster, "n1").state.version >= moving.version
    last = moving.advanced().advanced()
    await until(lambda: all(keeper(cluster, name).state == last for name in ("n1", "n3")))
    assert last.step is Step.STABLE


async def test_minority_says_that_it_is_one(cluster) -> None:
    """Alone, a node decides nothing, and names who must answer."""
    state = keeper(cluster, "n1").state
    await cluster.stop("n2", "n3")
    with pytest.raises(RingUndecided, match="a majority of n1, n2, n3 must answer") as raised:
        await keeper(cluster, "n1").propose(heavier(state))
    assert raised.value.evidence["outcome"] == "unknown"
    assert keeper(cluster, "n1").state == state


async def test_two_at_once_make_one_ring(cluster) -> None:
    """Both propose different rings for one version: one is decided, the other is told."""
    hold(cluster)
    first = keeper(cluster, "n1").state
    other = first.moving_to(make_plan(first.ring, [Change("zone", "n2", zone="attic")], first.epoch_max + 1).after)
    outcomes = await asyncio.gather(
        keeper(cluster, "n1").propose(heavier(first)), keeper(cluster, "n2").propose(other), return_exceptions=True
    )
    assert [type(one) for one in outcomes if one is not None] == [RingChanged]
    states = [keeper(cluster, name).state for name in cluster.names]
    await until(lambda: len({encode_ring_state(keeper(cluster, name).state) for name in cluster.names}) == 1)
    assert states[0].version == 2


async def test_what_peers_say_of_the_ring_is_checked(cluster) -> None:
    """Damaged states, and states of another version than said, change nothing."""
    reach, state = cluster.nodes["n1"].replication.cluster, keeper(cluster, "n2").state
    good = encode_ring_state(heavier(state))
    for request, body in (
        (LearnRing(), good[:-1]),
        (LearnRing(), b""),
        (AcceptRing(2, 1, "n1"), b"\1nonsense"),
        (AcceptRing(3, 1, "n1"), good),
    ):
        with pytest.raises(PeerRefused):
            await reach.ask("n2", request, body)
    assert keeper(cluster, "n2").state == state
    told = await reach.ask("n2", PrepareRing(1, 9, "late"))
    assert (told.message.version, decode_ring_state(told.body)) == (2, state)
    assert decode_ring_state((await reach.ask("n2", ReadRing())).body) == state
