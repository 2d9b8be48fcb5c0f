"""Processes that a run starts: they end with it, by process id."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from bench.contest import BenchFailed

READY_WITHIN_S = 60
STOP_WITHIN_S = 30

# This environment's own programs first; Debian keeps servers where a user's PATH does not look.
SEARCHED = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
)

# PR_SET_PDEATHSIG, <linux/prctl.h>: a run that is killed leaves nothing behind.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys; "
    f"ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)}); os.execv(sys.argv[1], sys.argv[1:])"
)


def program(name: str) -> str | None:
    """Return where the program is, or None."""
    return shutil.which(name, path=SEARCHED)


def is_here(need: str) -> bool:
    """Whether a program is here; `fio:nbd` is fio with its engine of that name."""
    name, _, engine = need.partition(":")
    if program(name) is None:
        return False
    return not engine or engine in run(name, "--enghelp").stdout.split()


def command(words: Sequence[str]) -> list[str]:
    """Return *words* with the program's whole path.

    Raises:
        BenchFailed: the program is not here.
    """
    path = program(words[0])
    if path is None:
        raise BenchFailed(f"{words[0]} is not installed")
    return [path, *words[1:]]


def ended_with_parent(words: Sequence[str]) -> list[str]:
    """Return a command that runs *words* and is killed when this process ends."""
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, *command(words)]


def run(
    *words: str, env: Mapping[str, str] | None = None, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Raises:
        BenchFailed: it is not here or it failed.
    """
    ended = subprocess.run(  # noqa: S603 - a fixed program, no shell
        command(words),
        check=False,
        capture_output=True,
        text=True,
        env=env,
        input=input,
        timeout=600,
    )
    if ended.returncode:
        raise BenchFailed(f"{words[0]} failed: {(ended.stderr or ended.stdout).strip()[-1000:]}")
    return ended


class Process(AbstractContextManager["Process"]):
    """A server that was started, with its output in a file."""

    def __init__(
        self, words: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
                ended_with_parent(words),
                stdout=subprocess.PIPE,
                stderr=output,
                stdin=subprocess.DEVNULL,
                text=True,
                env=env,
            )

    @property
    def pid(self) -> int:
        """The id of the process, the root of its tree."""
        return self._popen.pid

    def line(self) -> str:
        """Return the first line that it prints."""
        assert self._popen.stdout is not None
        ready, _, _ = select.select([self._popen.stdout], [], [], READY_WITHIN_S)
        return self._popen.stdout.readline() if ready else ""

    def wait_for_port(self, port: int) -> Self:
        """Wait until it accepts connections."""
        return self._wait_for(lambda: _accepts(port))

    def wait_for_path(self, path: Path) -> Self:
        """Wait until it has made *path*, such as a socket."""
        return self._wait_for(path.exists)

    def _wait_for(self, is_ready: Callable[[], bool]) -> Self:
        deadline = time.monotonic() + READY_WITHIN_S
        while not is_ready():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise BenchFailed(f"did not start: {self.log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        """End it as an operator would; if that takes too long, kill it."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            for pid in tree(self.pid):
                os.kill(pid, signal.SIGKILL)
            self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Return a port that nothing listens on; the caller binds it at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(root: int) -> list[int]:
    """Return the ids of *root* and of all below it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold blanks and brackets of its own.
            after_name = path.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(path.parent.name)] = int(after_name[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(root: int) -> float:
    """Return the CPU time that the tree below *root* has used, its ended children included."""
    ticks = 0
    for pid in tree(root):
        try:
            fields = (
                Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(root: int, what: str) -> int:
    """Return the tree's `Pss` or `Rss`, from /proc/PID/smaps_rollup."""
    total = 0
    for pid in tree(root):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found = re.search(rf"^{what}:\s+(\d+) kB", text, re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total
