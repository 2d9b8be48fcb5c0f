"""A virtual machine whose serial console is a dialog: a line goes in, what it prints comes out."""

import os
import re
import select
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

WITHIN_S = 240
"""How long a guest may take over anything: it is emulated, on a machine that is busy."""


@dataclass
class Machine:
    """QEMU with *drives*: words that give it its disks, the one to boot from first."""

    folder: Path
    drives: list[str]
    process: subprocess.Popen[bytes] | None = None
    text: str = ""
    _lines: int = 0
    _begun: int = 0
    _options: tuple[str, ...] = field(
        default=("-accel", "tcg", "-cpu", "max", "-m", "256", "-nographic", "-no-reboot"),
        init=False,
    )

    def start(self) -> "Machine":
        """Turn it on."""
        with (self.folder / "qemu.err").open("ab") as errors:
            self.process = subprocess.Popen(
                [
                    # A test run that is killed must leave no machine behind.
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("qemu-system-x86_64", *self._options, "-nic", "none"),
                    *self.drives,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        return self

    def booted(self) -> str:
        """Wait for the system and return its token."""
        return self.wait_for(r"^booted (\w+)\n").group(1)

    def run(self, command: str) -> str:
        """Run a line of shell in the guest; it has to succeed.  Return what it prints."""
        self.begin(command)
        return self.end()

    def begin(self, command: str) -> None:
        """Give the guest a line of shell to run."""
        assert self.process is not None
        assert self.process.stdin is not None
        # Longer ones do not fit a terminal's line, termios(3).
        assert len(command) < 4096
        self._lines += 1
        self._begun = len(self.text)
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """Wait for the end of the line that the guest runs."""
        found = self.wait_for(rf"^\[{self._lines}\] (\d+)\n")
        assert found.group(1) == "0", self.text
        return self.text[self._begun : found.start()].strip()

    def is_on(self) -> bool:
        """Whether the machine runs."""
        assert self.process is not None
        return self.process.poll() is None

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until *pattern* is somewhere on the console."""
        deadline = time.monotonic() + WITHIN_S
        while (found := re.search(pattern, self.text, re.MULTILINE)) is None:
            assert self._read(deadline), f"it ended without {pattern!r}: {self._story}"
        return found

    def off(self) -> str:
        """Shut it down, and return all that stood on the console."""
        assert self.process is not None
        # The root file system is clean once it can be read only.
        self.begin("sync && mount -o remount,ro / && poweroff -f")
        deadline = time.monotonic() + WITHIN_S
        while self._read(deadline):
            pass
        assert self.process.wait(60) == 0, self._story
        assert "Power down" in self.text, self._story
        return self.text

    def close(self) -> None:
        """Take what is left of it away."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait(60)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def _read(self, deadline: float) -> bool:
        """Wait for more on the console; False where it has ended."""
        assert self.process is not None
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"nothing more in {WITHIN_S} s: {self._story}"
        more = os.read(fd, 65536)
        # A terminal's lines end with both.
        self.text += more.decode(errors="replace").replace("\r", "")
        return bool(more)

    @property
    def _story(self) -> str:
        status = self.process and self.process.poll()
        return f"{self.text}\n{(self.folder / 'qemu.err').read_text()}\nstatus {status}"


def drive(uri: str, **more: str) -> list[str]:
    """Return QEMU's words for a disk behind *uri*."""
    options = {
        "file": uri,
        "format": "raw",
        "if": "virtio",
        "cache": "none",
        "discard": "unmap",
        **more,
    }
    return ["-drive", _joined(options)]


def reconnecting(uri: str, name: str) -> list[str]:
    """Return QEMU's words for a disk behind *uri* that outlasts a service that is away for long."""
    place = urlsplit(uri)
    options = {
        "driver": "nbd",
        "node-name": name,
        "server.type": "unix",
        "server.path": parse_qs(place.query)["socket"][0],
        "export": place.path[1:],
        "cache.direct": "on",
        "discard": "unmap",
        "reconnect-delay": str(WITHIN_S),
    }
    return ["-blockdev", _joined(options), "-device", f"virtio-blk-pci,drive={name}"]


def _joined(options: dict[str, str]) -> str:
    # A comma in a value is written twice, qemu(1).
    return ",".join(f"{name}={value.replace(',', ',,')}" for name, value in options.items())
