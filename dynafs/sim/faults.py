"""Breaking things, and mending them in time."""

import asyncio
import random

from dynafs.sim.plan import Fault
from dynafs.sim.world import World


class FaultInjector:
    """Carries out the faults of a plan. A mended fault never mends another one that overlaps it."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = random.Random(f"{seed} faults")  # noqa: S311

    async def run(self, faults: tuple[Fault, ...]) -> None:
        """Carry out all faults, and return when the last one was mended."""
        await asyncio.gather(*(self._one(fault) for fault in faults))

    async def _one(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s - self._world.loop.time())
        self._world.trace.note("fault", fault.kind, (fault.nodes, fault.duration_s, fault.amount))
        match fault.kind:
            case "kill" | "absence" | "power_cut" | "lost_disk":
                await self._stop(fault)
            case "pause":
                self._world.pause(fault.nodes[0], fault.duration_s)
            case "partition" | "one_way":
                await self._cut(fault)
            case "clog":
                self._world.network.clogged[fault.nodes[0], fault.nodes[1]] = self._world.loop.time() + fault.duration_s
            case "rot":
                self._rot(fault)
            case "clock_jump":
                self._world.nodes[fault.nodes[0]].clock.offset_ms += int(fault.amount)
            case _:
                await self._degrade(fault)

    async def _stop(self, fault: Fault) -> None:
        world = self._world
        stopped = [name for name in fault.nodes if world.nodes[name].is_running]
        if fault.kind in ("kill", "absence"):
            world.kill(*stopped)
        else:
            world.cut_power(*stopped)
        if fault.kind == "lost_disk":
            for name in stopped:
                world.nodes[name].replace_disk()
        await asyncio.sleep(fault.duration_s)
        world.start(*[name for name in stopped if not world.nodes[name].is_running])

    async def _cut(self, fault: Fault) -> None:
        world = self._world
        if fault.kind == "one_way":
            cuts = {(fault.nodes[0], fault.nodes[1]): None}
        else:
            others = [name for name in world.names if name not in fault.nodes]
            cuts = {pair: None for a in fault.nodes for b in others for pair in ((a, b), (b, a))}
        world.network.cuts.append(cuts)
        await asyncio.sleep(fault.duration_s)
        if cuts in world.network.cuts:
            world.network.cuts.remove(cuts)

    def _rot(self, fault: Fault) -> None:
        for _ in range(int(fault.amount)):
            chunk_id = self._world.nodes[fault.nodes[0]].platter.rot(self._rng)
            self._world.trace.note("fault", "rot", chunk_id.hex() if chunk_id else "")

    async def _degrade(self, fault: Fault) -> None:
        self._set(fault, is_on=True)
        await asyncio.sleep(fault.duration_s)
        self._set(fault, is_on=False)

    def _set(self, fault: Fault, *, is_on: bool) -> None:
        """Make something worse, or as good as it was."""
        node, network = self._world.nodes[fault.nodes[0]], self._world.network
        match fault.kind:
            case "slow_link":
                network.slow[fault.nodes[0], fault.nodes[1]] = fault.amount if is_on else 1.0
            case "slow_disk":
                node.disk_conditions.slowness = fault.amount if is_on else 1.0
            case "full_disk":
                node.platter.is_full = is_on
            case "filling_disk":
                node.platter.used_share = fault.amount if is_on else 0.0
            case "sync_failure":
                node.platter.sync_failures = int(fault.amount) if is_on else 0
            case "storm":
                network.storm = fault.amount if is_on else 0.0
