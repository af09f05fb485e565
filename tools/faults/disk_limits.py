"""Disks that fill up, lose their power, or are to be empty again."""

import asyncio
import fcntl
import shutil
import struct

from tools.faults.stage import MIB, Stage, load, run, until, until_whole
from tools.faults.telling import check

EXT4_IOC_SHUTDOWN, SHUTDOWN_WITHOUT_FLUSH = 0x8004587D, 2


async def full(stage: Stage) -> None:
    """Fill a node's disk: 507 for PUT there, GET and DELETE go on, and deletes free it without a restart."""
    storage = {"segment_size_bytes_max": 16 * MIB}
    async with stage.cluster(3, storage=storage) as (cluster, client):
        for name in cluster.names:
            stage.mount(cluster.data(name), "-t", "tmpfs", "-o", "size=400m", "dynafs-test")
        await cluster.start()
        number = 0
        while await client.put(f"demo/f{number}", 4 * MIB, cluster.names) == 201:
            number += 1
        check(
            f"507 after {number} files of 4 MiB: {client.failures}",
            set(client.failures) <= {"store_full", "write_quorum_lost"},
        )
        check("small files are refused, too", await client.put("demo/small", 10, ["n1"]) == 507)
        outcomes = await client.read_all(cluster.names)
        check(f"everything acknowledged can be read: {outcomes}", set(outcomes) == {"right"})
        for path in list(client.held)[: len(client.held) * 2 // 3]:
            async with client.session.delete(f"{cluster.url('n2')}/v1/files/{path}") as response:
                if response.status != 204:
                    raise SystemExit(f"FAILED: DELETE on a full disk: {response.status} {await response.text()}")
            del client.held[path]
        check("DELETE works on full disks", fact=True)

        async def takes_again() -> bool:
            return await client.put("demo/again", 4 * MIB, ["n1"]) == 201

        check(f"space is back {await until(takes_again, 90, 'a PUT'):.1f} s after the deletes", fact=True)
        outcomes = await client.read_all(cluster.names)
        check(f"what was kept is right: {outcomes}", set(outcomes) == {"right"})


async def power(stage: Stage) -> None:
    """Cut the power of all nodes under load: nothing acknowledged is lost."""
    async with stage.cluster(3) as (cluster, client):
        for name in cluster.names:
            image = stage.path / f"{name}.img"
            with image.open("wb") as file:
                file.truncate(2 << 30)
            run("mkfs.ext4", "-q", "-F", str(image))
            stage.mount(cluster.data(name), "-o", "loop", str(image))
            shutil.rmtree(cluster.data(name) / "lost+found")
        await cluster.start()
        for number in range(3):
            stop = asyncio.Event()
            loading = asyncio.create_task(load(client, cluster.names, stop, f"p{number}."))
            await asyncio.sleep(4 + client.rng.random())
            for name in cluster.names:
                with (cluster.data(name) / "LOCK").open("rb") as file:
                    fcntl.ioctl(file, EXT4_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_WITHOUT_FLUSH))
            await asyncio.sleep(0.3)
            stop.set()
            await cluster.kill(*cluster.names)
            await loading
            for name in cluster.names:
                stage.unmount(cluster.data(name))
                stage.mount(cluster.data(name), "-o", "loop", str(stage.path / f"{name}.img"))
            await cluster.start()
            outcomes = await client.read_all(cluster.names)
            check(f"power cut {number + 1}: {len(client.held)} acknowledged, {outcomes}", set(outcomes) == {"right"})
        check(f"the census is whole after {await until_whole(client, 90):.1f} s", fact=True)


async def space(stage: Stage) -> None:
    """Deleted and overwritten contents leave the disks, without a restart."""
    async with stage.cluster(3) as (cluster, client):
        await cluster.start()
        empty = sum(cluster.size_bytes(name) for name in cluster.names)
        sizes = [int(4096 * 2048 ** client.rng.random()) for _ in range(stage.files)]

        async def fill(numbers: list[int]) -> None:
            while numbers:
                number = numbers.pop()
                await client.put(f"demo/f{number}", sizes[number], cluster.names)

        numbers = list(range(len(sizes)))
        await asyncio.gather(*(fill(numbers) for _ in range(8)))
        filled = sum(cluster.size_bytes(name) for name in cluster.names)
        for path in list(client.held):
            async with client.session.delete(f"{cluster.url('n1')}/v1/files/{path}") as response:
                await response.read()
        client.held.clear()

        async def is_empty() -> bool:
            return sum(cluster.size_bytes(name) for name in cluster.names) - empty < 0.1 * (filled - empty)

        took_s = await until(is_empty, 120, "less than a tenth left")
        left = sum(cluster.size_bytes(name) for name in cluster.names)
        check(
            f"{len(sizes)} files deleted: {filled / MIB:.0f} MiB on disk, {left / MIB:.0f} MiB {took_s:.0f} s later",
            fact=True,
        )
        for _ in range(stage.overwrites):
            await client.put("demo/again", 256 * MIB, ["n1"])

        async def is_small() -> bool:
            return all(cluster.size_bytes(name) < 2 * 256 * MIB + left // 3 for name in cluster.names)

        took_s = await until(is_small, 120, "at most two copies' worth")
        check(
            f"{stage.overwrites} overwrites of 256 MiB: at most two copies' worth a node after {took_s:.0f} s",
            fact=True,
        )
        outcomes = await client.read_all(cluster.names)
        check(f"the newest is right: {outcomes}", set(outcomes) == {"right"})
