"""What the command waits for after it restarted a node, and how it says that this took too long."""

import pytest
from aiohttp import ClientSession

from dynafs.cli.maintenance import _Wait
from dynafs.cli.output import EXIT_USAGE, GaveUp, exit_code
from dynafs.client import DynafsClient


async def test_wait_for_copies_ends_at_the_deadline_and_names_what_is_missing(cluster, session: ClientSession) -> None:
    """A node that lacks copies is waited for until the timeout, whatever the census takes; the error names them."""
    async with session.put(cluster.file_url("demo/first"), data=b"x") as response:
        assert response.status == 201
    async with DynafsClient(cluster.url()) as client:
        wait = _Wait(client, "n3", 60.0)
        await wait.until(wait.is_whole, "is not counted")
        await cluster.stop("n3")
        async with session.put(cluster.file_url("demo/missed"), data=b"x") as response:
            assert response.status == 201
        await cluster.start("n3")
        messages = []
        # The shorter one last: its census goes on when it gives up, and the next one would wait for that first.
        for timeout_s in (8.0, 0.0):
            wait = _Wait(client, "n3", timeout_s)
            with pytest.raises(GaveUp, match=f"gave up after {timeout_s:g} s: n3 is ") as raised:
                await wait.until(wait.is_whole, "is not counted")
            assert exit_code(raised.value) == EXIT_USAGE
            messages.append(raised.value.message)
    assert "copies of 1 file and 1 partition are missing" in messages[0]
    assert "demo/missed record (n3 missing)" in messages[0]
