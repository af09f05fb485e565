"""`tools/dev test-upgrade`: its choice of a commit, its refusals, and clients that notice a lost write."""

import asyncio
import subprocess
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from dynafs.wire.handshake import WIRE_VERSION
from tests.support.processes import ROOT
from tools.checkout import UnknownRevision, checked_out, default_revision, git
from tools.faults.code_versions import CodeVersions, Incompatible, check_compatible, versions_of
from tools.faults.upgrade_load import Load

NEW = CodeVersions("", wire=3, apart_max=1, formats={"data directory": 1, "record": 2})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"wire": 2}, ""),
        ({"wire": 4}, ""),
        ({"formats": {"record": 1}}, ""),
        ({"wire": 1}, "wire version 1, this checkout 3"),
        ({"wire": 2, "apart_max": 0}, "up to 0 apart"),
        ({"formats": {"data directory": 2}}, "stores format 2 of a data directory; this checkout reads up to 1"),
        ({"formats": {"record": 3}}, "stores format 3 of a record"),
        ({"formats": {"journal": 1}}, "stores format 1 of a journal"),
    ],
)
def test_old_code_must_speak_and_store_what_the_new_one_reads(changes: dict[str, object], problem: str) -> None:
    old = msgspec.structs.replace(NEW, **changes)
    if not problem:
        check_compatible(old, NEW)
        return
    with pytest.raises(Incompatible, match=problem):
        check_compatible(old, NEW)


def test_versions_are_those_of_the_checkout_itself(tmp_path: Path) -> None:
    """Of another folder none are given, although a package of that name can be imported."""
    assert versions_of(ROOT).wire == WIRE_VERSION
    with pytest.raises(Incompatible, match="has no package dynafs"):
        versions_of(tmp_path)
    (tmp_path / "dynafs").mkdir()
    (tmp_path / "dynafs/__init__.py").write_text("import a_library_that_is_not_installed")
    with pytest.raises(Incompatible, match="a_library_that_is_not_installed"):
        versions_of(tmp_path)


def test_users_upgrade_from_a_tag_or_from_main_or_from_the_commit_before(tmp_path: Path) -> None:
    def run(*arguments: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    run("init", "--initial-branch", "main")
    for number in range(3):
        run("commit", "--allow-empty", "--message", f"{number}")
    assert default_revision(tmp_path) == "HEAD~1"
    left = git("rev-parse", "HEAD", repository=tmp_path)
    run("checkout", "-b", "branch")
    for number in range(2):
        run("commit", "--allow-empty", "--message", f"{number} on a branch")
    assert default_revision(tmp_path) == left
    run("tag", "v2", "HEAD")
    run("tag", "v1", "HEAD~2")
    assert default_revision(tmp_path) == "v1"


def test_revision_that_git_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownRevision, match="no-such-revision"):
        checked_out("no-such-revision", tmp_path / "source")
    assert not (tmp_path / "source").exists()


async def test_clients_find_nothing_wrong_until_a_confirmed_write_is_lost(cluster, session: ClientSession) -> None:
    """Goal: the checker accepts a right cluster and no other one. Method: load, then a file deleted and one replaced
    behind the clients' backs, then a node that is gone."""
    load = Load(cluster, session, seed=1, clients=3)
    await load.fill(6)
    running = asyncio.create_task(load.run())
    async with asyncio.timeout(30):
        while load.requests.total() < 150:
            await asyncio.sleep(0.01)
    load.end()
    await running
    assert await load.verify() >= 6
    assert load.found() == "Wrong: 0; failed: none"
    async with session.get(cluster.file_url("archive")) as response:
        first, second = [row["path"] for row in (await response.json())["files"]][:2]
    async with session.delete(cluster.file_url(f"archive/{first}")) as response:
        assert response.status == 204
    async with session.put(cluster.file_url(f"archive/{second}"), data=b"something else") as response:
        assert response.status == 201
    await load.verify_archive("n2")
    assert any(f"GET archive/{first} at n2: 404" in problem for problem in load.wrong)
    assert any(f"GET archive/{second} at n2: 200 with 14 bytes" in problem for problem in load.wrong)
    assert any(f"missing ['{first}']" in problem for problem in load.wrong)
    load.wrong.clear()
    await cluster.stop("n3")
    await load.verify()
    assert any("at n3: no response ClientConnectorError" in problem for problem in load.wrong)
