"""A service under strace: what it asks of the kernel, in order, and failures where we want them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from live import Server

_SENDING = ("write", "writev", "sendto", "sendmsg")
_CHANGING = ("openat", "pwrite64", "ftruncate", "fallocate", "unlink")
_FLUSHING = ("fdatasync", "fsync")
_CALLS = ",".join((*_SENDING, *_CHANGING, *_FLUSHING))
_LINE = re.compile(
    r"(?P<pid>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?P<resumed> resumed>)?\(?(?P<words>.*)"
)
_PATH = re.compile(r"\d+<(?P<path>[^>]*)>")
_CREATED = re.compile(r'"(?P<path>/[^"]*)", [A-Z_|]*O_CREAT')
_UNLINKED = re.compile(r'"(?P<path>/[^"]*)"\) = 0')


@cache
def can_trace() -> bool:
    """Whether strace is here and may trace what it starts."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return done.returncode == 0


needs_strace = pytest.mark.skipif(not can_trace(), reason="needs strace, and leave to trace")


@dataclass
class TracedServer(Server):
    """`drivebay serve` with a strace beside it; *tracing* are strace's own words."""

    tracing: list[str] = field(default_factory=lambda: ["-y", "-s", "12", "-e", f"trace={_CALLS}"])

    @property
    def trace(self) -> Path:
        return self.base / "trace"

    @property
    def command(self) -> list[str]:
        # -D leaves the service our own child, and strace a grandchild.
        return [
            *("strace", "-D", "-f", "--seccomp-bpf", "-o", str(self.trace), *self.tracing),
            *super().command,
        ]


@dataclass
class Undurable:
    """What was changed and not made durable, as the lines of a trace go by."""

    paths: set[str] = field(default_factory=set)
    flushed: set[str] = field(default_factory=set)
    _begun: dict[str, str] = field(default_factory=dict)

    def see(self, line: str) -> bool:
        """Take in one line; return whether it is the beginning of an answer of success."""
        found = _LINE.match(line)
        if found is None:
            return False
        pid, words = found["pid"], found["words"]
        if found["resumed"]:
            words = self._begun.pop(pid, "") + words
        elif words.endswith("<unfinished ...>"):
            self._begun[pid] = words
        path = match["path"] if (match := _PATH.match(words)) else ""
        self._note(found["call"], path, words)
        is_sent = found["call"] in _SENDING and path.startswith("socket:")
        # Once: a call that others come between has two lines.
        return is_sent and not found["resumed"] and '"HTTP/1.1 2' in words

    def _note(self, call: str, path: str, words: str) -> None:
        match call:
            case "pwrite64" | "ftruncate" | "fallocate":
                self.paths.add(path)
            case "openat":
                self._changed_folder(_CREATED.search(words))
            case "unlink" if match := _UNLINKED.match(words):
                self.paths.discard(match["path"])
                self._changed_folder(match)
            case "fdatasync" | "fsync" if words.endswith("= 0"):
                self.paths.discard(path)
                self.flushed.add(path)

    def _changed_folder(self, match: re.Match[str] | None) -> None:
        if match:
            self.paths.add(str(Path(match["path"]).parent))


def answers(lines: Iterator[str] | list[str]) -> Iterator[Undurable]:
    """Yield, at each answer of success in the trace, what was not durable then."""
    seen = Undurable()
    for line in lines:
        if seen.see(line):
            yield Undurable(set(seen.paths), set(seen.flushed))
            seen.flushed.clear()
