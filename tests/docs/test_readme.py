"""The README as its reader uses it: the two commands, then the tour, pasted as it stands."""

import os
import re
import select
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs.pages import README, ROOT, fences

READY_WITHIN_S = 60
TOUR_WITHIN_S = 240

# Ends everything with the test run, however that ends: nobody holds its stdin then.  The virtual
# environment is taken as it is (-o), as other tests are using it.
_SERVE = "exec 3<&0; make -o .venv/.run serve < /dev/null & read -r _ <&3; kill -KILL 0"


@dataclass
class Visitor:
    """Somebody with an empty home who has cloned the repository."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        own = ("DRIVEBAY", "XDG", "EH", "MAKE", "PYTEST", "COV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        # The port is any free one, so that a service of the developer's may run beside.
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "DRIVEBAY_HTTP": "127.0.0.1:0",
        }

    def paste(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run *text* in bash, where the first command that fails ends it."""
        return subprocess.run(
            ["bash", "-c", f"set -eEuo pipefail\n{text}"],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=TOUR_WITHIN_S,
            check=False,
        )


@pytest.fixture
def visitor(tmp_path: Path):
    """A visitor whose service runs, started as the README says."""
    if not (ROOT / ".venv" / "bin" / "drivebay").exists():
        pytest.skip("'make setup' has not been run")
    for tool in ("make", "curl", "mke2fs", "e2fsck", "awk", "apt-cache", "dpkg"):
        if shutil.which(tool, path=f"{os.environ['PATH']}:/sbin:/usr/sbin") is None:
            pytest.skip(f"{tool} is not installed")
    known = subprocess.run(
        ["apt-cache", "show", "grub-rescue-pc"], capture_output=True, check=False
    )
    if known.returncode != 0:
        pytest.skip("apt-get has no list of packages")
    one = Visitor(tmp_path)
    (tmp_path / "tmp").mkdir()
    with (tmp_path / "log").open("w") as log:
        service = subprocess.Popen(
            ["sh", "-c", _SERVE],
            cwd=ROOT,
            env=one.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    with service:
        try:
            ready, _, _ = select.select([service.stdout], [], [], READY_WITHIN_S)
            line = service.stdout.readline() if ready else ""
            assert line.startswith("ready http://"), (tmp_path / "log").read_text()
            yield one
        finally:
            os.killpg(service.pid, signal.SIGKILL)


def test_it_opens_with_the_two_commands():
    (first, *_) = fences(README.read_text())
    commands = [line.partition("#")[0].split() for line in first.splitlines()]

    assert commands == [["make", "serve"], ["make", "test"]]
    assert README.read_text().index(first) < 1000
    for _, target in commands:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_tour_is_one_with_the_command_line_and_one_with_curl():
    with_drivebay, with_curl = fences(README.read_text(), "bash")

    assert with_drivebay.count("drivebay ") > 10
    assert with_curl.count("curl ") > 5
    # A reader's terminal may be narrow, but not a reader's patience.
    assert max(map(len, (with_drivebay + with_curl).splitlines())) <= 120


@pytest.mark.live
def test_the_tour_runs_as_it_is_pasted_and_leaves_nothing_behind(visitor: Visitor):
    """The main job on a real file system: up, through gzip and back, down as a mere reader."""
    with_drivebay, with_curl = fences(README.read_text(), "bash")

    run = visitor.paste(with_drivebay + with_curl)

    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(
        r"^uploaded 1 GiB in .*, verified; .* of zeros not sent$", run.stderr, re.MULTILINE
    )
    assert re.search(
        r"^downloaded 1 GiB in .*, verified: drive \"copy\"$", run.stderr, re.MULTILINE
    )
    assert re.search(r"back\.img: \d+/\d+ files .* \d+/262144 blocks", run.stdout)
    # What `du -h` says of the image and of what came back: some hundred MB of 1 GiB.
    assert re.findall(r"^(\d+)M\t.*/(?:back|disk)\.img$", run.stdout, re.MULTILINE)
    assert "the same\n" in run.stdout
    assert '"tags": "scratch"' in run.stdout

    left = visitor.paste(
        'PATH="$PWD/.venv/bin:$PATH"\n'
        "drivebay list -q; drivebay profile list | cut -f1; drivebay user list | cut -f2,3\n"
        'find "$TMPDIR" -mindepth 1'
    )
    assert left.stdout.splitlines() == ["default", "first\ttrue", "alice\tfalse"], left
