"""Where the histories' data folders lie, and how a difference between two answers is shown."""

import logging
import shutil
import tempfile
from pathlib import Path

import pytest

from drivebay.service import imaging

pytest.register_assert_rewrite("property")

from property.world import Template  # noqa: E402 - after it is said how its asserts are to be read

_MEMORY = Path("/dev/shm")
_ROOM = 2**30


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder in memory if there is one: no history is about a disk, so none waits for it."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM:
        yield tmp_path_factory.mktemp("property")
        return
    with tempfile.TemporaryDirectory(prefix="drivebay-property-", dir=_MEMORY) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def template(base):
    return Template.make(base / "template")


@pytest.fixture(autouse=True)
def _every_piece_is_recorded(monkeypatch):
    monkeypatch.setattr(imaging, "RECORD_EVERY_S", 0)


@pytest.fixture(autouse=True)
def _nothing_is_logged():
    """The histories are full of stores that are away, and a failure shows what matters."""
    logger = logging.getLogger("drivebay")
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(logging.NOTSET)
