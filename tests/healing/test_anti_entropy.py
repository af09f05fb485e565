"""Trees between real nodes: what makes them right again, and what they refuse."""

import asyncio
import os

import msgspec
import pytest
from aiohttp import ClientSession

from dynafs.errors import PeerRefused
from dynafs.files import FileName
from dynafs.ring import LEAF_COUNT
from dynafs.wire.messages import CompareTrees, ReadLeaves

MIB = 1 << 20


async def all_sums(store) -> list[bytes]:
    return await store.tree_sums("records", range(LEAF_COUNT), 1) + await store.tree_sums(
        "chunks", range(LEAF_COUNT), 1
    )


async def test_trees_that_were_lost_are_built_again(make_cluster, session: ClientSession) -> None:
    """Sums and digests that say nothing of what is stored are put right from what is stored, in time."""
    cluster = make_cluster(healing={"tree_rebuild_interval_s": 2.0, "anti_entropy_interval_s": 1.0})
    await cluster.start()
    for number in range(20):
        async with session.put(cluster.file_url(f"demo/f{number}"), data=os.urandom(200_000)) as response:
            assert response.status == 201
    stores = [cluster.nodes[name].store for name in cluster.names]
    async with asyncio.timeout(20):
        # A write is acknowledged before its last copy is stored.
        while len(sums := {tuple(await all_sums(store)) for store in stores}) > 1:
            await asyncio.sleep(0.05)
    (right,), store = sums, stores[1]
    cluster.rows("n2").drop_trees()
    assert tuple(await all_sums(store)) != right
    async with asyncio.timeout(20):
        while tuple(await all_sums(store)) != right:
            await asyncio.sleep(0.1)
    assert store.listed_digest(FileName("demo", "f0").key)


@pytest.mark.parametrize(
    ("request_", "rows", "problem"),
    [
        (CompareTrees("files", 1), [], "kind"),
        (CompareTrees("records", 0), [], "span"),
        (CompareTrees("records", 1), [(b"\0", b"")], "span"),
        (CompareTrees("chunks", 1), [(b"\0\2", b""), (b"\0\1", b"")], "ascend"),
        (CompareTrees("chunks", 1), [(b"%c%c" % divmod(n, 256), b"") for n in range(1025)], "1024 rows"),
        (CompareTrees("chunks", 1), 7, "not rows"),
        (ReadLeaves("chunks", (1, LEAF_COUNT)), [], "leaves"),
        (ReadLeaves("chunks", ()), [], "leaves"),
        (ReadLeaves("chunks", tuple(range(65))), [], "1 to 64"),
        (ReadLeaves("chunks", (2, 1)), [], "leaves"),
        (ReadLeaves("chunks", (1, 2, 2, 3)), [], "ascend"),
        (ReadLeaves("everything", (1,)), [], "kind"),
    ],
)
async def test_questions_about_trees_are_checked(cluster, request_, rows, problem: str) -> None:
    """A peer that asks nonsense is told so, and goes on."""
    reach = cluster.nodes["n1"].replication.cluster
    with pytest.raises(PeerRefused) as raised:
        await reach.ask("n2", request_, msgspec.msgpack.encode(rows))
    assert raised.value.remote_code == "request_invalid"
    assert problem in raised.value.message
    assert (await reach.ask("n2", ReadLeaves("records", (1,)))).message.is_end
