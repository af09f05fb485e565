"""Listings against a model, over replicas that hold different things: any R owners, any page, nodes of two versions."""

import asyncio
from dataclasses import dataclass

import msgspec
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from dynafs.causality import Stamp
from dynafs.coordinator.listing import Listing
from dynafs.errors import RequestInvalid
from dynafs.files import FileName, Record, Version, VersionKind
from dynafs.files.name import common_prefix
from dynafs.quorum import QuorumPolicy
from dynafs.ring import file_hash
from dynafs.sim.loop import run_virtually
from dynafs.sim.options import WorldOptions
from dynafs.sim.trace import Trace
from dynafs.sim.world import World
from dynafs.wire.listing_messages import ListRecords, ReadRows
from dynafs.wire.records import encode_record

PATHS = [*(f"a/{i:02}" for i in range(12)), "a", "b/1", "b/2", "b/c/1", "é", "z"]


@dataclass(frozen=True)
class Write:
    """One version and the nodes that got it, as numbers."""

    path: str
    is_file: bool
    nodes: frozenset[int]


@dataclass(frozen=True)
class Asked:
    """One listing, from page to page. away: number of a node that is down, 0 for none."""

    by: int
    away: int
    prefix: str
    delimiter: str
    limit: int


def writes(nodes: int) -> st.SearchStrategy[Write]:
    everywhere = st.just(frozenset(range(1, nodes + 1)))
    some = st.frozensets(st.integers(1, nodes), min_size=1)
    return st.builds(Write, st.sampled_from(PATHS), st.booleans(), everywhere | some)


CASES = st.sampled_from([3, 5]).flatmap(
    lambda nodes: st.tuples(
        st.just(nodes),
        st.sampled_from([(2, 2), (1, 3), (3, 1)]),
        st.lists(writes(nodes), min_size=30, max_size=80),
        st.lists(
            st.builds(
                Asked, st.integers(1, nodes), st.integers(0, nodes), st.sampled_from(["", "a", "a/", "b/"]),
                st.sampled_from(["", "/"]), st.sampled_from([1, 2, 7, 1000]),
            ),
            min_size=1, max_size=4,
        ),
        st.sets(st.integers(1, nodes), max_size=2),
    )
)  # fmt: skip

EVERYWHERE = frozenset({1, 2, 3})
#: Both nodes that have b/2 skip it behind b/1, whose delete only the third one has.
SKIPPED = (
    3, (3, 1),
    [Write("b/1", True, EVERYWHERE), Write("b/2", True, EVERYWHERE - {3}), Write("b/1", False, frozenset({3}))],
    [Asked(by, 0, "", "/", 7) for by in EVERYWHERE], set(),
)  # fmt: skip


def bytes_of(write: Write, number: int) -> bytes:
    kind = VersionKind.FILE if write.is_file else VersionKind.TOMBSTONE
    version = Version(Stamp(number, "c"), kind, etag=str(number), inline=b"x" if write.is_file else None)
    return encode_record(Record.of({}, [version]))


def serve_as_before(world: World, name: str) -> None:
    """Have a node serve peers as those do that have no rows without contents to leave out."""
    handle = world.nodes[name].replication.dispatcher.handle

    def handle_as_before(peer, request, body):
        if isinstance(request, ReadRows):
            raise RequestInvalid("request", "unknown")
        if isinstance(request, ListRecords):
            request = msgspec.structs.replace(request, is_live=False)
        return handle(peer, request, body)

    world.nodes[name].peers.handler = handle_as_before


async def listed(world: World, asked: Asked, policy: QuorumPolicy) -> tuple[list[str], list[str]]:
    lister = world.nodes[f"n{asked.by}"].replication.lister
    files, prefixes, after = [], [], b""
    for _ in range(200):
        page: Listing = await lister.page("demo", asked.prefix, asked.delimiter, after, asked.limit, policy)
        assert len(page.files) + len(page.prefixes) <= asked.limit
        files += [path for path, _ in page.files]
        prefixes += page.prefixes
        if page.after is None:
            return files, prefixes
        after = page.after
    raise AssertionError("a listing that does not end")


def shown(paths: set[str], asked: Asked) -> tuple[set[str], set[str]]:
    inside = [path for path in paths if path.startswith(asked.prefix)]
    folded = {path: common_prefix(path, asked.prefix, asked.delimiter) for path in inside}
    return {path for path in inside if not folded[path]}, {prefix for prefix in folded.values() if prefix}


def possible(world: World, done: list[Write], path: str, w: int) -> set[bool]:
    """Return whether a file may be there: after the last write that W owners got, or one of those behind it."""
    owners = world.owners(file_hash(FileName("demo", path).key))
    states = {False}
    for one in done:
        if one.path == path:
            is_acknowledged = sum(f"n{node}" in owners for node in one.nodes) >= w
            states = {one.is_file} if is_acknowledged else states | {one.is_file}
    return states


@settings(
    max_examples=150,
    phases=set(Phase) - {Phase.shrink, Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(CASES)
@example(SKIPPED)
@example((*SKIPPED[:2], [*SKIPPED[2], Write("z", True, EVERYWHERE)], *SKIPPED[3:]))
@example((*SKIPPED[:4], {1}))
def test_listing_of_replicas_that_differ_equals_the_model(case) -> None:
    """What W owners got last is listed, or its delete hides the name, whichever R owners reply and however they lag."""
    nodes, (r, w), done, questions, old = case

    async def main() -> None:
        trace = Trace(asyncio.get_running_loop().time)
        trace.capture_logs()
        world = World(WorldOptions(seed=1, nodes=nodes, r=r, w=w), trace)
        world.start()
        await world.wait_connected()
        for node in world.nodes.values():
            for job in node.replication.jobs.by_name.values():
                job.pause()
        for number, one in enumerate(done, 1):
            data, key = bytes_of(one, number), FileName("demo", one.path).key
            for node in one.nodes:
                await world.nodes[f"n{node}"].replication.record_service.merge_record(key, data, is_old=True)
        for node in old:
            serve_as_before(world, f"n{node}")
        for asked in questions:
            away = f"n{asked.away}"
            if asked.away and asked.away != asked.by and r < 3 and w < 3:
                world.kill(away)
            states = {path: possible(world, done, path, w) for path in PATHS}
            files, prefixes = await listed(world, asked, QuorumPolicy(3, r, w))
            for found in (files, prefixes):
                assert found == sorted(set(found), key=str.encode)
            for sure, maybe, found in zip(
                shown({path for path in PATHS if states[path] == {True}}, asked),
                shown({path for path in PATHS if True in states[path]}, asked),
                (set(files), set(prefixes)),
                strict=True,
            ):
                assert sure <= found <= maybe, (asked, sure - found, found - maybe)
            if not world.nodes[away].is_running if asked.away else False:
                world.start(away)
                await world.wait_connected()
        for name in world.running:
            world.nodes[name].stop(is_dark=True)

    run_virtually(main())
