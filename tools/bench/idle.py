#!/usr/bin/env python3
"""What a node costs that has nothing to do beside many peers: processor time, file descriptors, memory.

    tools/dev bench-idle [--peers 199] [--seconds 60] [--partitions 4096] [--profile FILE]

One real node, and peers that are made up (`quiet_peers.py`) but connect, gossip and ask as idle nodes do. Exits with 1
when the node takes more than it may.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.ports import free_port
from tools.bench.machine import cpu_s, resident_bytes
from tools.bench.node_profile import sampled, show

NODE = "n0"
CPU_SHARE_MAX, DESCRIPTORS_MAX, RESIDENT_MIB_MAX = 0.02, 500, 150
READY_TIMEOUT_S = 120
#: Until what a start sets off is over: first comparisons with every peer, gossip about newcomers.
SETTLE_S = 30


def settings_of(work: Path, port: int, peers: int, partitions: int) -> str:
    """Return the settings file of the node. Every peer has an address of the loopback network of its own."""
    names = [NODE, *(f"p{number}" for number in range(1, peers + 1))]
    members = "".join(
        f'\n[[cluster.members]]\nnode = "{name}"\naddress = "{_address(number, port)}"\nzone = "z{number % 10}"\n'
        for number, name in enumerate(names)
    )
    return (
        f'[node]\nname = "{NODE}"\ndata_dir = "{work / "data"}"\n[http]\nlisten = "127.0.0.1:{port}"\n'
        f'[cluster]\nid = "idle"\nsecret = "not much of a secret"\nn = 3\npartitions = {partitions}\n{members}'
    )


def _address(number: int, port: int) -> str:
    return f"127.0.{number // 250}.{number % 250 + 1}:{port + 1}"


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the node answers reads."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.5)
    sys.exit(f"the node did not become ready: {log.read_text()[-1500:]}")


def measured(pid: int, seconds: int, profile: Path | None) -> tuple[float, int, float]:
    """Return the share of one core that the node takes, its open descriptors, and its resident MiB."""
    began_s, spent_s = time.monotonic(), cpu_s([pid])
    if profile is None:
        time.sleep(seconds)
    else:
        stacks = sampled(pid, seconds, only_gil=True)
        profile.write_text("".join(f"{';'.join(stack)} {count}\n" for stack, count in stacks))
        show(stacks)
    share = (cpu_s([pid]) - spent_s) / (time.monotonic() - began_s)
    return share, len(os.listdir(f"/proc/{pid}/fd")), resident_bytes(pid) / (1 << 20)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=199)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--settle", type=int, default=SETTLE_S)
    parser.add_argument("--partitions", type=int, default=4096)
    parser.add_argument("--profile", type=Path, help="sample the node meanwhile, and write the stacks here")
    chosen = parser.parse_args()
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        port = free_port(2)
        settings = work / "node.toml"
        settings.write_text(settings_of(work, port, chosen.peers, chosen.partitions))
        settings.chmod(0o600)
        try:
            peers = [sys.executable, str(Path(__file__).with_name("quiet_peers.py")), str(settings), NODE]
            with (work / "log").open("wb") as log:
                running.append(subprocess.Popen(peers, stdout=subprocess.PIPE))
                assert running[0].stdout is not None
                if not running[0].stdout.readline():
                    sys.exit("the peers did not start")
                serve = [sys.executable, "-m", "dynafs", "serve", "--config", str(settings)]
                running.append(subprocess.Popen(serve, stdout=log, stderr=log))
            wait_ready(f"http://127.0.0.1:{port}", running[1], work / "log")
            time.sleep(chosen.settle)
            share, descriptors, resident_mib = measured(running[1].pid, chosen.seconds, chosen.profile)
        finally:
            for process in reversed(running):
                process.kill()
                process.wait()
    rows = (
        ("share of a core", f"{100 * share:.2f} %", f"{100 * CPU_SHARE_MAX:.0f} %", share <= CPU_SHARE_MAX),
        ("descriptors", str(descriptors), str(DESCRIPTORS_MAX), descriptors <= DESCRIPTORS_MAX),
        ("resident", f"{resident_mib:.0f} MiB", f"{RESIDENT_MIB_MAX} MiB", resident_mib <= RESIDENT_MIB_MAX),
    )
    print(f"a node beside {chosen.peers} peers, {chosen.seconds} s")
    for what, found, most, is_good in rows:
        print(f"{what:<16} {found:>10} {'' if is_good else 'above '}{'of ' if is_good else ''}{most}")
    return 0 if all(is_good for *_, is_good in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
