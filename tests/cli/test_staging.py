"""`dynafs ring stage`, `plan` and `clear`: what operators are told before anything moves."""

import asyncio
import json
import re

import pytest

from tests.cli.test_commands import dynafs
from tests.support.ports import free_port


async def test_changes_are_staged_shown_everywhere_and_cleared(cluster) -> None:
    """Staged through any nodes, seen through any other, by people and by scripts; cleared, nothing is left."""
    code, out, _ = await dynafs("ring", "plan", url=cluster.url())
    assert (code, out.strip()) == (0, "nothing is staged; the ring stays at epoch 1")
    code, out, _ = await dynafs(
        "ring", "stage", "join", "n4", "--zone", "attic", "--address", "n4:1", url=cluster.url("n2")
    )
    assert code == 0
    assert "join n4" in out
    assert "copies from n1 to n4" in out
    assert "warning: losing zone default leaves" in out
    code, out, _ = await dynafs("ring", "stage", "weight", "n1", "2.5", "--json", url=cluster.url("n3"))
    told = json.loads(out)
    assert (code, told["staged"]) == (0, ["join n4", "weight of n1 to 2.5"])
    assert told["moves"] >= told["moves_min"] > 0
    assert {node["node"]: node["before"] for node in told["nodes"]}["n4"] == 0
    assert sum(node["after"] for node in told["nodes"]) == told["partitions"] * told["n"]
    async with asyncio.timeout(10):
        while json.loads((await dynafs("ring", "plan", "--json", url=cluster.url("n1")))[1])["hash"] != told["hash"]:
            await asyncio.sleep(0.05)
    code, out, _ = await dynafs("ring", "clear", url=cluster.url("n1"))
    assert (code, "nothing is staged" in out) == (0, True)


async def test_plan_tells_what_a_loss_would_mean(cluster) -> None:
    """With all nodes in one zone, losing that zone is losing everything; with three zones, any may go."""
    for node in ("n1", "n2"):
        code, out, _ = await dynafs("ring", "stage", "zone", node, f"rack-{node}", url=cluster.url())
        assert (code, "warning" in out) == (0, node == "n1")
    assert "afterwards any one node or zone can be lost: 2 copies or more are left of everything" in out


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["join", "n1"], 1, "join n1: n1 is a member already"),
        (["leave", "n9"], 1, "leave n9: n9 is no member; members are n1, n2, n3"),
        (["leave", "n1"], 1, "3 copies need 3 nodes; stage who joins first"),
        (["replace", "n1", "n2", "--address", "n4:1"], 1, "n2 is a member already"),
        (["join", "n 4", "--address", "n4:1"], 2, "is no name of a node"),
        (["join", "../x", "--address", "n4:1"], 2, "is no name of a node"),
        (["replace", "n1", "n/4"], 2, "is no name of a node"),
        (["leave", "n/9"], 1, "is no name of a node"),
        (["weight", "n1", "inf"], 2, "use a number from 0.001 to 1000000, not inf"),
        (["weight", "n1", "nan"], 2, "use a number from 0.001 to 1000000, not nan"),
        (["weight", "n1", "1e9"], 2, "use a number from 0.001 to 1000000"),
        (["weight", "n1", "--", "-1"], 2, "use a number from 0.001 to 1000000, not -1"),
        (["zone", "n1", ""], 2, "is no name"),
        (["join", "n4"], 1, "start it first, or say where peers reach it: --address HOST:PORT"),
        (["join", "n4", "--address", "n4"], 2, "is not HOST:PORT"),
        (["join", "n4", "--address", "n4:0"], 2, "is not HOST:PORT"),
        (["join", "n4", "--weight", "0"], 2, "Invalid value for '--weight'"),
        (["weight", "n1", "heavy"], 2, "Invalid value for 'weight'"),
        (["dance"], 2, "No such command"),
    ],
)
async def test_impossible_changes_say_what_to_do(cluster, arguments: list[str], code: int, problem: str) -> None:
    """1 when the cluster refuses, 2 when the command line makes no sense; nothing is staged."""
    found, _, err = await dynafs("ring", "stage", *arguments, url=cluster.url())
    assert (found, problem in " ".join(err.split())) == (code, True), err
    assert "nothing is staged" in (await dynafs("ring", "plan", url=cluster.url()))[1]


async def test_minority_cannot_stage(cluster) -> None:
    """Alone, a node says whom it needs; reading the plan still works."""
    await cluster.stop("n2", "n3")
    code, _, err = await dynafs("ring", "stage", "join", "n4", "--address", "n4:1", url=cluster.url())
    assert (code, "a majority of n1, n2, n3 must answer" in " ".join(err.split())) == (1, True)
    assert (await dynafs("ring", "plan", url=cluster.url()))[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["ring", "throttle", "--", "-1"], ["ring", "throttle", "inf"], ["ring", "throttle", "1048577"],
        ["jobs", "--limit", "walk"], ["jobs", "--limit", "walk=inf"], ["jobs", "--limit", "walk=²"],
        ["jobs", "--limit", "walk=-1"], ["jobs", "--limit", "=5"], ["jobs", "--limit", "a/b=5"],
        ["jobs", "--limit", "walk=" + "9" * 5000], ["ring", "stage", "weight", "n1", "inf"],
    ],
    ids=str,
)  # fmt: skip
async def test_numbers_that_cannot_be_are_refused_before_any_request(arguments: list[str]) -> None:
    """Exit code 2 in words, though no node listens there."""
    code, _, err = await dynafs(*arguments, url=f"http://127.0.0.1:{free_port()}")
    assert code == 2
    assert "Traceback" not in err
    assert "no answer from" not in err
    assert re.search(r"Invalid value|use JOB=MIB|name a job", " ".join(err.split())), err
