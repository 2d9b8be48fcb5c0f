"""The command line as its users run it: as a process, in a pipe or on a pseudo-terminal."""

import contextlib
import json
import os
import pty
import select
import shlex
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from drivebay.model import TRANSFER_MAX
from live import Credentials, Server

ENDS_WITHIN_S = 120
_MAIN = "import sys; from drivebay.cli.main import main; sys.exit(main())"
# What makes Ctrl-C work: the pseudo-terminal becomes the one that controls the command.
_ON_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {_MAIN}"


@dataclass
class Run:
    """What one command came to.  On a terminal, *err* holds what the terminal showed."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def resume(self) -> list[str]:
        """The words of the command that it offers to go on with."""
        (line,) = (line for line in self.err.splitlines() if "resume with: " in line)
        return shlex.split(line.partition("resume with: drivebay ")[2])

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines on stderr."""
        return [json.loads(line) for line in self.err.splitlines()]


@dataclass
class Cli:
    """`drivebay` for one user, in a folder of its own."""

    server: Server
    user: Credentials
    folder: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            **self.server.env,
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "DRIVEBAY_URL": self.server.url,
            "DRIVEBAY_TOKEN": ":".join(self.user),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            **self.extra,
        }

    def environment(self, changes: dict[str, str | None]) -> dict[str, str]:
        merged = {**self.env, **changes}
        return {key: value for key, value in merged.items() if value is not None}

    def __call__(self, *words: str, stdin: bytes | Path = b"", **env: str | None) -> Run:
        """Run it with pipes on all three sides; a *stdin* of a path is that file."""
        with contextlib.ExitStack() as stack:
            source: Any = {"input": stdin}
            if isinstance(stdin, Path):
                source = {"stdin": stack.enter_context(stdin.open("rb"))}
            done = subprocess.run(
                [sys.executable, "-c", _MAIN, *words],
                **source,
                capture_output=True,
                env=self.environment(env),
                cwd=self.folder,
                timeout=ENDS_WITHIN_S,
                check=False,
            )
        return Run(done.returncode, done.stdout, done.stderr.decode())

    def ok(self, *words: str, **options: Any) -> Run:
        """Run it, and expect it to succeed."""
        run = self(*words, **options)
        assert run.status == 0, run
        return run

    def terminal(
        self,
        *words: str,
        answers: Sequence[tuple[str, str]] = (),
        piped_out: bool = False,
        **env: str | None,
    ) -> Run:
        """Run it on a pseudo-terminal of 100 columns; type the answers when the prompts appear."""
        with Terminal(self, words, self.environment(env), piped_out=piped_out) as terminal:
            for prompt, answer in answers:
                terminal.wait_for(prompt)
                terminal.type(answer)
            return terminal.ended()

    def on_terminal(self, *words: str, **env: str | None) -> "Terminal":
        """Start it on a pseudo-terminal, for a test that watches it run."""
        return Terminal(self, words, self.environment(env), piped_out=False)

    def create(self, name: str, size: str = "1M", *lines: str) -> str:
        """Make a drive, past the command line, and return its uuid."""
        text = "\n".join([f"name {name}", f"size {size}", *lines])
        return self.server.create(text, user=self.user)

    def filled(self, name: str, data: bytes) -> str:
        """Make a drive that holds *data*, past the command line, and return its uuid."""
        drive = self.create(name, str(len(data)))
        answer = self.server.api("POST", f"/drives/{drive}/write", data, user=self.user)
        assert answer.status == 204, answer
        return drive

    def info(self, drive: str) -> dict[str, Any]:
        """Return the record of the user's drive of that uuid or name, past the command line."""
        wanted = {"Accept": "application/json"}
        answer = self.server.api("GET", "/drives/info/full", user=self.user, headers=wanted)
        (record,) = (r for r in json.loads(answer.body) if drive in {r["drive"], r["name"]})
        return record

    def content(self, drive: str) -> bytes:
        """Return the whole of a drive, past the command line."""
        record = self.info(drive)
        pieces = []
        for start in range(0, record["size"], TRANSFER_MAX):
            length = min(TRANSFER_MAX, record["size"] - start)
            path = f"/drives/{record['drive']}/read/{start}/{length}"
            pieces.append(self.server.api("GET", path, user=self.user).body)
        return b"".join(pieces)


class Terminal:
    """One command on a pseudo-terminal."""

    def __init__(
        self, cli: Cli, words: Sequence[str], env: dict[str, str], *, piped_out: bool
    ) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 100))
        self._piped_out = piped_out
        self._shown = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *words],
            stdin=slave,
            stdout=subprocess.PIPE if piped_out else slave,
            stderr=slave,
            env=env,
            cwd=cli.folder,
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._master)

    @property
    def shown(self) -> str:
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> None:
        while text not in self.shown:
            assert self._more(), f"{text!r} never came: {self.shown!r}"

    def ended(self) -> Run:
        """Wait for the end of the command."""
        while self._more():
            pass
        out = self.process.stdout.read() if self.process.stdout is not None else b""
        status = self.process.wait(ENDS_WITHIN_S)
        shown = self.shown
        return Run(status, out if self._piped_out else shown.encode(), shown)

    def _more(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], ENDS_WITHIN_S)
        assert ready, f"nothing more came: {self.shown!r}"
        try:
            part = os.read(self._master, 65536)
        except OSError:  # Linux's way to say that nobody has the other side open any more.
            return False
        self._shown += part
        return bool(part)
