#!/usr/bin/env python3
"""Build the unmodified Dockerfile and run the compose cluster for real: PUT, GET, kill -9 of a container's process,
`docker stop`, two more containers that join, one that is made anew at another address.

    tools/dev test-containers [--keep]

Needs root on Debian; installs docker.io, docker-compose, mmdebstrap and iptables when they are missing. Runs a private
docker daemon with its own data, so nothing of another daemon is touched. Where the image registry cannot be reached the
base image is replaced by a look-alike made from Debian packages (mkbase.sh).
"""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tools.faults.telling import check, say

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("DYNAFS_CONTAINER_WORK", ROOT / ".dynafs" / "containers"))
PACKAGES = {
    "dockerd": "docker.io",
    "docker-compose": "docker-compose",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
}
BASE = "python:3.11-slim-bookworm"
PROJECT = "dynafs-test"
NODES = {"n1": 8081, "n2": 8082, "n3": 8083}


class Docker:
    """A private daemon and its clients."""

    def __init__(self) -> None:
        self.environment = {
            **os.environ, "DOCKER_HOST": f"unix://{WORK}/docker.sock", "DOCKER_BUILDKIT": "1",
            "COMPOSE_DOCKER_CLI_BUILD": "1", "DYNAFS_CLUSTER_SECRET": secrets.token_hex(32),
            "DYNAFS_HTTP_TOKEN": secrets.token_hex(16), "PATH": f"/usr/bin:{os.environ['PATH']}",
        }  # fmt: skip
        self.daemon: subprocess.Popen | None = None

    def run(self, *command: str, ok: bool = True) -> str:
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if ok and done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def compose(self, *command: str, ok: bool = True) -> str:
        return self.run("docker-compose", "-p", PROJECT, "-f", str(ROOT / "configs/compose.yaml"), *command, ok=ok)

    def start(self) -> None:
        log = (WORK / "dockerd.log").open("wb")
        command = ["dockerd", "--data-root", WORK / "data", "--exec-root", WORK / "exec", "-p", WORK / "dockerd.pid"]
        command += ["-H", self.environment["DOCKER_HOST"]]
        self.daemon = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        for _ in range(150):
            if (
                subprocess.run(["docker", "info"], env=self.environment, capture_output=True, check=False).returncode
                == 0
            ):
                return
            time.sleep(0.2)
        raise SystemExit(f"dockerd did not start; see {WORK}/dockerd.log")

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(timeout=60)

    def pid(self, node: str) -> int:
        container = self.compose("ps", "-q", node).strip()
        return int(self.run("docker", "inspect", "-f", "{{.State.Pid}}", container))

    def restarts(self, node: str) -> int:
        container = self.compose("ps", "-q", node).strip()
        return int(self.run("docker", "inspect", "-f", "{{.RestartCount}}", container))


def install() -> None:
    if os.geteuid():
        sys.exit("tools/dev test-containers must run as root: it starts its own docker daemon")
    missing = [package for command, package in PACKAGES.items() if shutil.which(command) is None]
    if missing:
        say(f"installing {' '.join(missing)}")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def import_base(docker: Docker) -> None:
    """Make sure the Dockerfile's base image is there, without a registry if need be."""
    if docker.run("docker", "images", "-q", BASE).strip():
        return
    if (
        subprocess.run(
            ["docker", "pull", "-q", BASE], env=docker.environment, capture_output=True, check=False
        ).returncode
        == 0
    ):
        say("base image pulled")
        return
    tar = WORK / "base.tar"
    if not tar.exists():
        subprocess.run([ROOT / "tools/faults/mkbase.sh", tar], check=True)
    path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    docker.run(
        "docker", "import", "-c", f"ENV {path}", "-c", "ENV LANG=C.UTF-8", "-c", 'CMD ["python3"]', str(tar), BASE
    )
    say("base image made from Debian packages")


def request(docker: Docker, method: str, node: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
    url = f"http://127.0.0.1:{NODES[node]}{path}"
    headers = {"Authorization": f"Bearer {docker.environment['DYNAFS_HTTP_TOKEN']}"}
    asked = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()


def wait_ready(docker: Docker, *nodes: str) -> None:
    deadline = time.monotonic() + 60
    for node in nodes:
        while request(docker, "GET", node, "/readyz")[0] != 200:
            if time.monotonic() > deadline:
                raise SystemExit(f"{node} is not ready:\n{docker.compose('logs', '--tail', '20', node)}")
            time.sleep(0.2)


def wait_healthy(docker: Docker) -> None:
    deadline = time.monotonic() + 60
    while docker.run("docker", "ps", "--format", "{{.Status}}").count("(healthy)") < len(NODES):
        if time.monotonic() > deadline:
            raise SystemExit("the containers' health checks do not pass")
        time.sleep(0.5)


def exercise(docker: Docker) -> None:
    wait_ready(docker, *NODES)
    wait_healthy(docker)
    say("ok: three containers ready and healthy")
    files = {f"f{i}": os.urandom(size) for i, size in enumerate((0, 1, 70_000, 5 << 20, 40 << 20))}
    for i, (name, contents) in enumerate(files.items()):
        status, told = request(docker, "PUT", f"n{i % 3 + 1}", f"/v1/files/demo/{name}", contents)
        check(f"PUT {name}, {len(contents)} bytes", status == 201)
    for node in NODES:
        same = all(request(docker, "GET", node, f"/v1/files/demo/{n}") == (200, c) for n, c in files.items())
        check(f"GET of every file through {node}", same)
    status, _ = request(docker, "GET", "n1", "/v1/ring")
    check("requests with the token pass", status == 200)
    os.kill(docker.pid("n2"), signal.SIGKILL)
    say("killed n2's process")
    survivors = {}
    for i in range(20):
        contents = hashlib.sha256(b"%d" % i).digest() * (1 + 20_000 * (i % 2))
        status, told = request(docker, "PUT", ("n1", "n3")[i % 2], f"/v1/files/demo/during{i}", contents)
        if status != 201:
            raise SystemExit(f"FAILED: PUT while n2 was down: {status} {told!r}")
        survivors[f"during{i}"] = contents
    say("ok: 20 PUTs through the others")
    deadline = time.monotonic() + 60
    while docker.restarts("n2") < 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    wait_ready(docker, *NODES)
    check("the restart policy brought n2 back", docker.restarts("n2") >= 1)
    same = all(
        request(docker, "GET", "n2", f"/v1/files/demo/{n}") == (200, c) for n, c in {**files, **survivors}.items()
    )
    check("everything reads back through n2", same)
    stop_drains(docker)
    docker.compose("start", "n3")
    wait_ready(docker, *NODES)
    check(
        "a stopped container comes back with its volume",
        request(docker, "GET", "n3", "/v1/files/demo/f3")[1] == files["f3"],
    )


def command(docker: Docker, *arguments: str, ok: bool = True) -> dict:
    """Run the command in a container of the cluster; return what it says. ok: it must not complain."""
    return json.loads(docker.compose("exec", "-T", "n1", "dynafs", *arguments, "--json", ok=ok))


def wait_for(docker: Docker, what: str, is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: {what}\n{docker.compose('logs', '--tail', '20')}")
        time.sleep(0.3)
    say(f"ok: {what}")


def grow(docker: Docker) -> None:
    """Two more containers join; one is made anew, with the same volume and another address, and is found again."""
    docker.compose("--profile", "more", "up", "-d", "--no-build", "--scale", "more=2")
    wait_for(docker, "two more wait", lambda: len(command(docker, "ring", "status")["waiting"]) == 2)
    newcomers = sorted(command(docker, "ring", "status")["waiting"])
    for name in newcomers:
        command(docker, "ring", "stage", "join", name)
    command(docker, "ring", "commit", "--yes")
    command(docker, "ring", "transfers", "--wait")
    nodes = {row["node"]: row["state"] for row in command(docker, "ring", "status")["nodes"]}
    check("five nodes are up and normal", nodes == dict.fromkeys([*NODES, *newcomers], "UN"))
    contents = os.urandom(3 << 20)
    check("PUT with five nodes", request(docker, "PUT", "n1", "/v1/files/demo/five", contents)[0] == 201)
    before = addresses(docker)
    docker.compose("--profile", "more", "stop", "more")
    # Whoever takes an address first gets it: the two come back at each other's.
    for container in reversed(docker.compose("--profile", "more", "ps", "-q", "more").split()):
        docker.run("docker", "start", container)
    wait_for(docker, "all are up again", lambda: command(docker, "ring", "check", ok=False)["problems"] == [])
    say(f"addresses before {before}, now {addresses(docker)}")
    check("GET with five nodes", request(docker, "GET", "n2", "/v1/files/demo/five") == (200, contents))
    check("the census is whole", command(docker, "census")["is_whole"])


def addresses(docker: Docker) -> list[str]:
    containers = docker.compose("--profile", "more", "ps", "-q", "more").split()
    template = "{{.Config.Hostname}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return sorted(docker.run("docker", "inspect", "-f", template, one).strip() for one in containers)


def stop_drains(docker: Docker) -> None:
    """A container that is told to stop ends by itself, in order and in time, and says so."""
    container = docker.compose("ps", "-q", "n3").strip()
    began = time.monotonic()
    docker.compose("stop", "n3")
    code = docker.run("docker", "inspect", "-f", "{{.State.ExitCode}}", container).strip()
    said = docker.compose("logs", "--no-color", "--tail", "20", "n3")
    check(f"docker stop drained n3 in {time.monotonic() - began:.1f} s", code == "0" and "node.draining" in said)
    check("it closed its data last", "node.stopped" in said.strip().rpartition("\n")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the daemon's data for a faster next run")
    arguments = parser.parse_args()
    install()
    WORK.mkdir(parents=True, exist_ok=True)
    docker = Docker()
    try:
        docker.start()
        say("private dockerd is up")
        import_base(docker)
        docker.run("docker", "build", "-t", "dynafs:latest", str(ROOT))
        check(
            "docker build of the unmodified Dockerfile",
            bool(docker.run("docker", "images", "-q", "dynafs:latest").strip()),
        )
        docker.compose("up", "-d", "--no-build")
        try:
            exercise(docker)
            grow(docker)
        finally:
            docker.compose("--profile", "more", "down", "-v", "-t", "15")
    finally:
        docker.stop()
        if not arguments.keep:
            shutil.rmtree(WORK, ignore_errors=True)
        subprocess.run(["ip", "link", "del", "docker0"], capture_output=True, check=False)
    say("all container checks passed")


if __name__ == "__main__":
    main()
