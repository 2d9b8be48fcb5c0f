"""What every test may ask for."""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from live import Credentials, Server

settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")

REQUIRED = os.environ.get("DRIVEBAY_TEST_REQUIRE") == "all"
"""Whether a missing outside tool fails its tests instead of skipping them, as in CI."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    del item, call
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory):
    """One running service for all tests that leave it running; take a user of your own."""
    running = Server(tmp_path_factory.mktemp("server"))
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def make_server(tmp_path: Path):
    """Start services of the test's own: `make_server(workers=1, options=[...])`."""
    started: list[Server] = []

    def make(**settings) -> Server:
        started.append(Server(tmp_path / f"server-{len(started)}", **settings))
        return started[-1].start()

    yield make
    for one in started:
        one.close()


_names = itertools.count(1)


@pytest.fixture
def owner(server: Server) -> Credentials:
    """A fresh user of the shared service."""
    return server.add_user(f"user-{next(_names)}")
