"""What nodes look like from outside while they are fuzzed: their logs, their memory, their descriptors."""

import asyncio
import json
from collections import Counter
from pathlib import Path

from tests.support.processes import ProcessCluster
from tools.faults.telling import check, say

MIB = 1 << 20
#: Lines that may come at once before one a second is the limit.
BURST_LINES = 10
#: Memory that comes and goes: allocators, caches that fill.
GROWTH_BYTES_MAX = 64 * MIB
DESCRIPTORS_MORE_MAX = 12
#: Turns before memory is looked at; caches and pools are full by then.
WARM_TURNS = 6
#: How long connections that were left half open may take to go.
SETTLE_S = 15.0


class NodeWatch:
    """Looks at every node of a cluster after every turn. Raises SystemExit when something is wrong."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self._cluster = cluster
        self._read: dict[str, int] = dict.fromkeys(cluster.names, 0)
        self._turns = 0
        self._descriptors = {name: self._descriptors_of(name) for name in cluster.names}
        self._memory: dict[str, list[int]] = {name: [] for name in cluster.names}

    def after_turn(self, turn: str, seconds: float) -> None:
        """Read what was logged meanwhile, and how large the nodes are."""
        self._turns += 1
        for name in self._cluster.names:
            if self._cluster.processes[name].returncode is not None:
                raise SystemExit(f"FAILED: {name} ended in the turn of {turn}")
            self._check_log(name, turn, seconds)
            if self._turns > WARM_TURNS:
                self._memory[name].append(self._memory_of(name))

    def _check_log(self, name: str, turn: str, seconds: float) -> None:
        log = self._cluster.path / f"{name}.log"
        data = log.read_bytes()[self._read[name] :]
        whole = data[: data.rfind(b"\n") + 1]
        self._read[name] += len(whole)
        kinds: Counter[str] = Counter()
        for line in whole.decode(errors="replace").splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                raise SystemExit(f"FAILED: {name} logged no JSON in the turn of {turn}: {line[:2000]}") from None
            if "exception" in told or "Traceback" in line:
                raise SystemExit(f"FAILED: {name} logged a traceback in the turn of {turn}: {line[:6000]}")
            kinds[told.get("event", "")] += told.get("level") in ("warning", "error")
        event, count = max(kinds.items(), key=lambda item: item[1], default=("", 0))
        if count > seconds + BURST_LINES:
            raise SystemExit(f"FAILED: {name} logged {event} {count} times in the turn of {turn}, {seconds:g} s long")

    async def finish(self) -> None:
        """Compare memory and descriptors with what they were."""
        await asyncio.sleep(SETTLE_S)
        for name, sizes in self._memory.items():
            more = self._descriptors_of(name) - self._descriptors[name]
            check(f"{name} has {more} descriptors more than at first", more <= DESCRIPTORS_MORE_MAX)
            if len(sizes) < 2 * WARM_TURNS:
                say(f"{name}: the run is too short to judge its memory, {sizes[-1] // MIB if sizes else 0} MiB")
                continue
            sixth = len(sizes) // 6
            medians = [sorted(sizes[at * sixth : (at + 1) * sixth])[sixth // 2] for at in range(6)]
            shown = ", ".join(str(size // MIB) for size in medians)
            check(f"{name} took {shown} MiB, sixth by sixth", medians[-1] - medians[0] <= GROWTH_BYTES_MAX)

    def _memory_of(self, name: str) -> int:
        status = Path(f"/proc/{self._cluster.processes[name].pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) << 10

    def _descriptors_of(self, name: str) -> int:
        return len(list(Path(f"/proc/{self._cluster.processes[name].pid}/fd").iterdir()))
