"""What Python and libraries say goes through the log's one format."""

import json
import subprocess
import sys

SCRIPT = """
import asyncio, logging, sys, warnings
from dynafs.membership.gossip import route_logs
from dynafs.observe.events import configure_logs, get_logger
configure_logs("info", "json", node="n1")
route_logs()
warnings.warn("a library is\\nunhappy", RuntimeWarning)
logging.getLogger("aiohttp.server").warning("odd %s", "thing")
logging.getLogger("kinship").warning("gossip is odd")
logging.getLogger("asyncio").debug("not for operators")
async def fail():
    asyncio.get_running_loop().call_exception_handler({"message": "broke", "exception": ValueError("x")})
asyncio.run(fail())
get_logger().info("node.started")
"""


def test_every_line_of_the_log_is_json() -> None:
    """Warnings, library loggers and asyncio's handler become events with the bound fields."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(e["event"], e["level"]) for e in events] == [
        ("library.warned", "warning"), ("library.warned", "warning"), ("gossip.troubled", "warning"),
        ("library.failed", "error"), ("node.started", "info"),
    ]  # fmt: skip
    assert {e["node"] for e in events} == {"n1"}
    assert "a library is\nunhappy" in events[0]["message"]
    assert (events[1]["logger"], events[1]["message"]) == ("aiohttp.server", "odd thing")
    assert "ValueError: x" in events[3]["exception"]
