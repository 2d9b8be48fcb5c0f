"""What the tests of the command line may ask for."""

import random
from pathlib import Path

import pytest

from cli.proxy import Proxy
from cli.runner import Cli
from drivebay.units import MIB


@pytest.fixture
def cli(server, owner, tmp_path: Path) -> Cli:
    """The command line for a fresh user of the shared service, in an empty folder."""
    return Cli(server, owner, tmp_path)


@pytest.fixture
def proxy(server):
    """A proxy in front of the shared service; it passes everything until it is told otherwise."""
    with Proxy(server.port) as running:
        yield running


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file of 22 MiB and a few bytes: noise, zeros, text, a hole, and noise at its end."""
    noise = random.Random(22)
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.write(noise.randbytes(5 * MIB))
        file.write(bytes(4 * MIB))
        file.write(b"all work and no play " * 100_000)
        file.seek(20 * MIB)
        file.write(noise.randbytes(2 * MIB + 5))
    return path
