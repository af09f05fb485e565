"""Trees of checksums: two stores agree on them exactly when they hold the same, however they came to hold it."""

import asyncio
import random

import pytest

from dynafs.ports import Reference
from dynafs.ring import BRANCH_LEAVES, LEAF_COUNT, file_hash, leaf_of
from dynafs.wire.records import record_digest
from dynafs.wire.segments import chunk_id_of

UPLOADS = (b"u" * 16, b"v" * 16)
SPANS = (LEAF_COUNT, 1024, BRANCH_LEAVES, 1)


async def change_at_random(store, rng: random.Random, steps: int) -> None:
    """Put, replace and remove records and chunks, some of them at once."""
    for _ in range(steps):
        number = rng.randrange(12)
        key, body = b"b\0%d" % number, b"%d" % number * 50
        chunk_id, upload = chunk_id_of(body), rng.choice(UPLOADS)
        match rng.randrange(5):
            case 0:
                await asyncio.gather(store.put_record(key, b"first"), store.put_record(key, b"%d" % rng.randrange(3)))
            case 1:
                await store.put_record(key, b"")
            case 2:
                await asyncio.gather(*(store.put_chunk(chunk_id, one, key, body) for one in UPLOADS))
            case 3:
                reference = store.reference(chunk_id, upload)
                await store.drop_reference(reference or Reference(chunk_id, upload, key, 0))
            case 4:
                again = store.put_chunk(chunk_id, upload, key, body)
                if reference := store.reference(chunk_id, upload):
                    await store.drop_reference(reference)
                await again


async def all_sums(store) -> list[list[bytes]]:
    return [
        await store.tree_sums(kind, range(0, LEAF_COUNT, span), span)
        for kind in ("records", "chunks")
        for span in SPANS
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_trees_are_what_building_them_anew_gives(box, seed: int) -> None:
    """After any writes, and in a directory from before there were trees."""
    store, rng = box.open(), random.Random(seed)
    await change_at_random(store, rng, 120)
    kept = await all_sums(store)
    assert await all_sums(await box.reopen_without_trees()) == kept
    assert any(any(total != bytes(16) for total in sums) for sums in kept)
    await box.close()
    assert await all_sums(box.open()) == kept


async def put_and_drop_chunk(store, number: int, rounds: int) -> None:
    """Put a small chunk and drop it, over and over; it is here at the end."""
    body = b"%d" % number
    for turn in range(rounds):
        await store.put_chunk(chunk_id_of(body), UPLOADS[0], b"b\0k", body)
        if turn < rounds - 1:
            await store.drop_reference(store.reference(chunk_id_of(body), UPLOADS[0]))


async def put_facts_and_record(store, number: int, rounds: int) -> None:
    """Keep the other commit thread busy, with a change of its tree now and then."""
    for turn in range(rounds):
        await store.put_fact(f"fact {number}", b"%d" % turn)
        if turn % 4 == 0:
            await store.put_record(b"b\0%d" % number, b"%d" % turn)


async def test_commit_threads_keep_each_its_own_tree(box) -> None:
    """Chunks come and go while facts and records are written: neither thread writes the other's sums."""
    store = box.open()
    await asyncio.gather(
        *(put_and_drop_chunk(store, number, 200) for number in range(4)),
        *(put_facts_and_record(store, number, 200) for number in range(4)),
    )
    kept = await all_sums(store)
    assert await all_sums(await box.reopen_without_trees()) == kept
    assert all(any(total != bytes(16) for total in sums) for sums in kept)


async def test_ranges_sum_up_what_lies_in_them(box) -> None:
    """A record or chunk changes the one leaf it falls into, and every range over that; listed with it is what it is."""
    store = box.open()
    empty = await all_sums(store)
    body = b"contents"
    chunk_id = chunk_id_of(body)
    await store.put_chunk(chunk_id, UPLOADS[0], b"b\0p", body)
    leaf = leaf_of(chunk_id)
    changed = [
        [number for number, pair in enumerate(zip(*sums, strict=True)) if pair[0] != pair[1]]
        for sums in zip(empty, await all_sums(store), strict=True)
    ]
    assert changed == [[]] * len(SPANS) + [[leaf // span] for span in SPANS]
    assert await store.scan_leaves("chunks", [leaf], b"", 10) == [(chunk_id, b"")]
    assert await store.scan_leaves("chunks", [leaf], chunk_id, 10) == []
    await store.drop_reference(store.reference(chunk_id, UPLOADS[0]))
    assert await all_sums(store) == empty


async def test_leaves_list_records_page_by_page(box) -> None:
    """Everything in leaves is told once, leaf after leaf, in an order that can be gone on from."""
    store = box.open()
    by_leaf: dict[int, list[bytes]] = {}
    for key in (b"b\0%d" % number for number in range(3000)):
        by_leaf.setdefault(leaf_of(file_hash(key)), []).append(key)
    shared = {leaf: keys for leaf, keys in by_leaf.items() if len(keys) > 1}
    assert len(shared) > 3
    await asyncio.gather(*(store.put_record(key, key) for keys in by_leaf.values() for key in keys))
    leaves, found, after = sorted(shared), [], b""
    while page := await store.scan_leaves("records", leaves, after, 3):
        found += page
        after = page[-1][0]
        leaves = [leaf for leaf in leaves if leaf >= leaf_of(file_hash(after))]
    assert sorted(found) == sorted((key, record_digest(key)) for keys in shared.values() for key in keys)
    assert [leaf_of(file_hash(key)) for key, _ in found] == sorted(leaf_of(file_hash(key)) for key, _ in found)
    assert [store.listed_digest(key) for key, _ in found] == [digest for _, digest in found]


@pytest.mark.parametrize("kind", ["records", "chunks"])
async def test_wrong_branch_is_counted_again(box, kind: str) -> None:
    """Writes that left their leaf as it was are put right by counting, also while others are written."""
    store = box.open()
    await change_at_random(store, random.Random(5), 60)
    right = await all_sums(store)
    old_rows = box.rows.read("trees")
    await store.put_record(b"b\0new", b"new")
    await store.put_chunk(chunk_id_of(b"new"), UPLOADS[0], b"b\0new", b"new")
    box.rows.replace("trees", old_rows)
    # The store remembers the sums that it wrote last.
    await box.close()
    store = box.open()
    assert await all_sums(store) == right
    await asyncio.gather(*(store.recount_branch(kind, branch) for branch in range(LEAF_COUNT // BRANCH_LEAVES)))
    counted = await all_sums(store)
    store = await box.reopen_without_trees()
    half = slice(0, len(SPANS)) if kind == "records" else slice(len(SPANS), None)
    assert counted[half] == (await all_sums(store))[half] != right[half]
