"""One user with one drive for each file of wire tests, and the check that nothing touched them."""

import pytest

from live import Server
from wire.exchange import Caller

CONTENT = bytes(range(256)) * 256


@pytest.fixture(scope="module")
def caller(server: Server) -> Caller:
    """A user for the tests of one file."""
    return Caller(server, server.add_user())


@pytest.fixture(scope="module")
def stranger(server: Server) -> Caller:
    """Another user, who is no reader of anything."""
    return Caller(server, server.add_user())


@pytest.fixture(scope="module")
def drive(caller: Caller) -> str:
    """A drive of 64 KiB with content, which no test may change."""
    uuid = caller.create(f"name kept\nsize {len(CONTENT)}\ntags a b\nuser:note kept")
    caller.write(uuid, CONTENT)
    return uuid


@pytest.fixture
def kept(caller: Caller, drive: str):
    """The drive, with a check that the test left it, and which drives there are, as it was.

    The check asks the service again, so it also shows that the service still answers.
    """
    before = caller.state(drive)
    yield drive
    assert caller.state(drive) == before
