"""A service whose imaging moves piece by piece, each when the test says so."""

import os
from pathlib import Path

from live import Server
from system.waiting import wait_until

# Runs before the service is imported for good: every piece of a copy waits for one byte of the pipe
# before it is recorded.
_STEPS = """
import os, select
from drivebay.service import imaging

gate = os.open(os.environ["STEPS"], os.O_RDWR | os.O_NONBLOCK)
arrivals = os.open(os.environ["ARRIVALS"], os.O_WRONLY | os.O_APPEND)
imaging.RECORD_EVERY_S = 0.0
record = imaging.Runner.record

def stepped(runner, *words):
    os.write(arrivals, b".")
    while not runner._stopping:
        select.select([gate], [], [], 0.02)
        try:
            os.read(gate, 1)
            break
        except BlockingIOError:
            pass
    record(runner, *words)

imaging.Runner.record = stepped
"""
_ALL = 4096


class SteppedServer(Server):
    """`drivebay serve` with a gate in front of every piece of imaging."""

    @property
    def command(self) -> list[str]:
        python, flag, program, *words = super().command
        return [python, flag, _STEPS + program, *words]

    @property
    def gate(self) -> Path:
        return self.base / "steps"

    @property
    def arrivals(self) -> Path:
        return self.base / "arrivals"

    def start(self) -> "SteppedServer":
        self.base.mkdir(parents=True, exist_ok=True)
        self.gate.unlink(missing_ok=True)
        os.mkfifo(self.gate)
        self.arrivals.write_bytes(b"")
        self.environment |= {"STEPS": str(self.gate), "ARRIVALS": str(self.arrivals)}
        super().start()
        return self

    def step(self, pieces: int = 1) -> None:
        """Let that many pieces pass, whichever job they belong to."""
        fd = os.open(self.gate, os.O_RDWR)
        try:
            os.write(fd, b"." * pieces)
        finally:
            os.close(fd)

    def wait_for_arrivals(self, pieces: int) -> None:
        """Wait until so many pieces have come to the gate since the start."""
        wait_until(lambda: self.arrivals.stat().st_size >= pieces)

    def open_gate(self) -> None:
        """Let everything pass."""
        self.step(_ALL)
