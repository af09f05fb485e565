"""Fixtures for all tests: clusters of real nodes in this process, stores, an HTTP session, log events, chance."""

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog
from aiohttp import ClientSession
from hypothesis import settings as hypothesis_settings

from tests.support.disks import box, posix_box
from tests.support.local_cluster import SECRET, LocalCluster
from tests.support.ports import free_port

__all__ = ["SECRET", "LocalCluster", "box", "free_port", "posix_box"]

hypothesis_settings.register_profile("dynafs", deadline=None, print_blob=True)
hypothesis_settings.load_profile("dynafs")


@pytest.fixture
async def make_cluster(tmp_path: Path) -> AsyncIterator[Callable[..., LocalCluster]]:
    """Return a maker of clusters that are stopped after the test."""
    made: list[LocalCluster] = []

    def make(**changes: object) -> LocalCluster:
        made.append(LocalCluster(tmp_path / f"cluster{len(made)}", **changes))
        return made[-1]

    yield make
    for cluster in made:
        await cluster.stop()


@pytest.fixture
async def cluster(make_cluster: Callable[..., LocalCluster]) -> LocalCluster:
    """Return a running cluster of three nodes, n=3 r=2 w=2."""
    made = make_cluster()
    await made.start()
    return made


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """Return an HTTP session."""
    async with ClientSession(auto_decompress=False) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _logs_as_at_first() -> None:
    """Undo what an earlier test, or a simulation in it, set up for logs: it may leave out debug events."""
    structlog.reset_defaults()


@pytest.fixture
def events() -> list[dict[str, object]]:
    """Return the log events of the test, as they happen."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Return a seeded source of randomness; the seed is shown when the test fails."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)
