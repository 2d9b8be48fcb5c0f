"""Drives that the tests' own servers hold, on disk and in memory."""

import shutil
import tempfile
from pathlib import Path

import pytest

from live import Server
from nbd.claimed import Claimed, claimed
from nbd.client import hang_up


@pytest.fixture(autouse=True)
def _hang_up():
    """Close what a test has opened."""
    yield
    hang_up()


@pytest.fixture(scope="session")
def in_memory():
    """A running service whose data folder is in memory, where no read waits and no flush does."""
    base = Path(tempfile.mkdtemp(prefix="drivebay-", dir="/dev/shm"))
    running = Server(base / "server")
    try:
        yield running.start()
    finally:
        running.close()
        shutil.rmtree(base)


@pytest.fixture(params=["disk", "memory"])
def anywhere(request: pytest.FixtureRequest) -> Server:
    """A running service, on disk and then in memory."""
    name = {"disk": "server", "memory": "in_memory"}[request.param]
    return request.getfixturevalue(name)


@pytest.fixture
def held(server: Server) -> Claimed:
    """A drive of 1 MiB, claimed for writing."""
    return claimed(server)
