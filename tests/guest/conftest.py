import shutil

import pytest

from cli.runner import Cli
from guest import image
from guest.machine import Machine


@pytest.fixture(scope="session")
def guest_image(tmp_path_factory) -> image.Image:
    """A disk image that boots, for uploading."""
    if missing := image.missing():
        pytest.skip(f"needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("guest")
    try:
        yield image.build(folder)
    except image.PackageMissingError as error:
        pytest.skip(f"needs {error}")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def turn_on(tmp_path):
    """Start machines: `turn_on(drive(uri), drive(another))`."""
    started: list[Machine] = []

    def make(*drives: list[str]) -> Machine:
        words = [word for one in drives for word in one]
        started.append(Machine(tmp_path, words))
        return started[-1].start()

    yield make
    for machine in started:
        machine.close()


@pytest.fixture
def cli(server, owner, tmp_path):
    """A user's command line; what its drives and downloads take up is given back."""
    made = Cli(server, owner, tmp_path / "cli")
    made.folder.mkdir()
    yield made
    for uuid in server.api("GET", "/drives/list", user=owner).text.split():
        server.api("POST", f"/drives/{uuid}/destroy", user=owner)
    shutil.rmtree(made.folder)
