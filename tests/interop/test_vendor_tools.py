"""The vendor's shell tools, by what they put on the wire: bash, dd, gzip and curl."""

import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivebay.units import MIB
from live import Credentials, Server

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "dd", "gzip"))), reason="needs bash and curl"
)


@dataclass
class Tools:
    """The tools in the environment that the vendor's documentation asks for."""

    server: Server
    user: Credentials
    folder: Path
    extra: dict[str, str] = field(default_factory=dict)

    def __call__(self, tool: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environment = {"EHURI": f"{self.server.url}/", "EHAUTH": ":".join(self.user), **self.extra}
        return subprocess.run(
            [HERE / f"{tool}.sh", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.folder,
            env={**os.environ, **environment},
        )

    def call(self, *words: str, stdin: str = "") -> str:
        done = self("call", *words, stdin=stdin)
        # The tool ends with 0 whatever the service answered.
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def create(self, text: str) -> str:
        """Make a drive and find its uuid as scripts around the tool do."""
        lines = self.call("-c", "drives", "create", stdin=text).splitlines()
        return next(line.split()[1] for line in lines if line.startswith("drive "))


@pytest.fixture
def tools(server, owner, tmp_path) -> Tools:
    return Tools(server, owner, tmp_path)


@pytest.fixture
def image(tmp_path) -> Path:
    """A file of three chunks and a bit: noise, zeros, text."""
    path = tmp_path / "image.raw"
    noise = random.Random(4)
    path.write_bytes(noise.randbytes(5 * MIB) + bytes(4 * MIB) + b"text " * 700_000 + b"end")
    return path


@pytest.mark.parametrize("flag", [(), ("-o",)], ids=["2016", "2014"])
def test_every_reading_call_works_as_an_empty_post(tools, flag):
    drive = tools.create("name TestDrive\nsize 10000000\n")

    assert tools.call(*flag, "drives", "list") == f"{drive}\n"
    assert tools.call(*flag, "drives", "info").startswith(f"drive {drive}\n")
    for words in (("info",), ("info", "full")):
        lines = tools.call(*flag, "drives", drive, *words).splitlines()
        assert f"drive {drive}" in lines
        assert "name TestDrive" in lines
        assert "size 10000000" in lines
    assert tools.call(*flag, "drives", "list", "standard") == ""
    assert tools.call(*flag, "drives", drive, "read", "0", "5") == "\0" * 5


def test_changing_calls_take_text_that_calls_itself_octets(tools):
    drive = tools.create("name first\nsize 1M\nuser:about two words\n")
    other = tools.create("name other\nsize 1M")

    changed = tools.call("-c", "drives", drive, "set", stdin="name second\ntags a b\nsize 2M\n")
    imaged = tools.call("drives", drive, "image", other)
    while "\nimaging " in (info := tools.call("drives", drive, "info")):
        pass
    gone = tools.call("drives", other, "destroy")

    assert "\nname second\n" in changed
    assert {"size 2097152", "tags a b", "user:about two words"} <= set(info.splitlines())
    assert (imaged, gone) == ("", "")
    assert tools.call("drives", "list") == f"{drive}\n"


def test_json_is_spoken_both_ways(tools):
    made = tools.call("-j", "-c", "drives", "create", stdin='{"name": "n1", "size": "160G"}')
    drive = json.loads(made)["drive"]

    listed = json.loads(tools.call("-j", "drives", "list"))
    (info,) = json.loads(tools.call("-j", "drives", "info"))

    assert listed[0]["uuid"] == drive
    assert info == json.loads(tools.call("-j", "drives", drive, "info"))
    assert info["size"] == 160 * 1024**3


def test_an_error_is_a_sentence_on_stdout(tools):
    assert tools.call("-c", "drives", "create", stdin="name no size") == "size is missing\n"
    assert tools.call("servers", "list") == "command not found\n"


def test_a_whole_image_goes_out_in_one_write(tools, image):
    drive = tools.create(f"name whole\nsize {image.stat().st_size}\n")

    assert tools.call("-f", str(image), "drives", drive, "write") == ""

    back = tools.folder / "back"
    assert tools("download", drive, str(back)).returncode == 0
    assert back.read_bytes() == image.read_bytes()


@pytest.mark.parametrize(
    ("release", "slashes"), [("2011", "/"), ("2011", "//"), ("2016", ""), ("2016", "/")]
)
def test_what_was_uploaded_is_downloaded(tools, image, release, slashes):
    tools.extra["EHURI"] = tools.server.url + slashes

    up = tools("upload", "-r", release, str(image))
    drive = tools.call("drives", "list").strip()
    down = tools("download", drive, "back")

    size = image.stat().st_size
    assert (up.returncode, up.stderr) == (0, "")
    assert up.stdout == f"Created drive {drive} of size {size}\n.... completed\n"
    assert (down.returncode, down.stdout, down.stderr) == (0, ".... completed\n", "")
    assert (tools.folder / "back").read_bytes() == image.read_bytes()
    info = tools.call("drives", drive, "info").splitlines()
    assert {f"name {image.name}", f"size {size}", f"write:bytes {size}"} <= set(info)
    assert "write:requests 4" in info
    assert ("tier disk" in info) == (release == "2016")


def test_an_odd_chunk_size_works_too(tools, image):
    tools("upload", "-c", "1000003", str(image))
    drive = tools.call("drives", "list").strip()

    tools("download", "-c", "999983", drive, "back")

    assert (tools.folder / "back").read_bytes() == image.read_bytes()


def test_an_upload_goes_on_where_it_is_told(tools, image):
    size = image.stat().st_size
    drive = tools.create(f"size {size}")
    whole = image.read_bytes()
    tools.call("-f", str(image), "drives", drive, "write")
    image.write_bytes(whole[: 9 * MIB] + b"new" + whole[9 * MIB + 3 :])

    # Rounded down to the chunk at 8 MiB.
    run = tools("upload", "-d", drive, "-o", str(9 * MIB), str(image))

    assert run.stdout == f"Using existing drive {drive}\n.. completed\n"
    tools("download", drive, "back")
    assert (tools.folder / "back").read_bytes() == image.read_bytes()


def test_a_download_goes_on_from_its_last_whole_chunk(tools, image):
    tools("upload", str(image))
    drive = tools.call("drives", "list").strip()
    part = image.read_bytes()[: 6 * MIB]
    (tools.folder / "back").write_bytes(part[:-2] + b"xx")

    run = tools("download", drive, "back")

    # Half a chunk was of no use, so three are asked for.
    assert run.stdout == "... completed\n"
    assert (tools.folder / "back").read_bytes() == image.read_bytes()


def test_a_chunk_that_cannot_be_written_says_how_to_go_on(tools, image):
    drive = tools.create("size 6M")

    run = tools("upload", "-d", drive, str(image))

    assert run.returncode == 1
    assert run.stderr == (
        "Failed to write chunk 2 of 4: aborting\n"
        f"Restart with '-d {drive} -o 4194304' to resume the upload\n"
    )


def test_an_unknown_drive_and_a_refused_create_are_failures(tools, image):
    unknown = "0012e24a-6eae-4279-9912-3432f698cec8"

    down = tools("download", unknown, "back")
    tools.extra["EHAUTH"] = f"{tools.user[0]}:wrong"
    up = tools("upload", str(image))

    assert (down.returncode, down.stderr) == (1, f"Drive {unknown} not found\n")
    assert up.returncode == 1
    assert up.stderr.startswith("Failed to create drive of size")
