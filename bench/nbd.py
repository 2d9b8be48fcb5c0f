"""An NBD export, and the clients that use it: fio's engine and nbdcopy."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from bench.contest import BenchFailed
from bench.processes import cpu_seconds, run
from bench.stats import Sample

CONNECTIONS = 4
GIB = 1 << 30

# What fio writes: in each 512 bytes, the longest pattern that it takes, its request's offset first.
TEXT = b"drivebay" * 63
PATTERN = f'--verify_pattern=%o"{TEXT.decode()}"'


def pattern(offset: int, length: int) -> bytes:
    """Return what a write at *offset* puts into each *length* bytes, a multiple of 512."""
    run = offset.to_bytes(8, "little") + TEXT
    return run * (length // len(run))


@dataclass(frozen=True)
class Load:
    """Requests of *length* bytes, so many at once on each connection; *mode* is fio's word.

    The modes are randread, randwrite, read and write.
    """

    mode: str
    length: int
    depth: int
    connections: int = 1

    @property
    def is_write(self) -> bool:
        """Whether it writes."""
        return "write" in self.mode

    @property
    def is_random(self) -> bool:
        """Whether its value is a number of requests, else it is one of bytes."""
        return "rand" in self.mode


@dataclass(frozen=True)
class Export:
    """Where an export is, how long it is, and the root of its server's process tree."""

    uri: str
    size: int
    pid: int

    def read(self) -> Sample:
        """Copy everything to nowhere over four connections; MB/s."""
        return self._copy(self.uri, "null:")

    def write(self, source: Path) -> Sample:
        """Copy *source* onto it over four connections, flushed at the end; MB/s."""
        return self._copy("--flush", str(source), self.uri)

    def copy_out(self, path: Path) -> Path:
        """Write what it holds to *path*."""
        self._copy(self.uri, str(path))
        return path

    def _copy(self, *words: str) -> Sample:
        before, used = time.monotonic(), cpu_seconds(self.pid)
        run("nbdcopy", f"--connections={CONNECTIONS}", *words)
        server_s = cpu_seconds(self.pid) - used
        rate = self.size / (time.monotonic() - before) / 1e6
        return Sample(rate, {"server_cpu_s_per_gib": server_s * GIB / self.size})

    def load(self, load: Load, seconds: float) -> Sample:
        """Send requests for so many seconds; the value is those per second, or MB/s."""
        words = ["--time_based", f"--runtime={round(seconds * 1000)}ms", "--randrepeat=0"]
        words += ["--norandommap", f"--size={self.size}"]
        # The pattern is only written: to look for what was overwritten meanwhile takes memory.
        words += ["--verify=pattern", PATTERN, "--do_verify=0"] if load.is_write else []
        used = cpu_seconds(self.pid)
        text = self._fio(load, words)
        return sample(load, text, cpu_seconds(self.pid) - used)

    def write_once(self, load: Load, size: int) -> None:
        """Write each block of the first *size* bytes once, then read and compare all of them.

        Raises:
            BenchFailed: fio found other bytes.
        """
        share = size // load.connections
        words = [f"--size={share}", f"--offset_increment={share}"]
        self._fio(load, [*words, "--verify=pattern", PATTERN, "--verify_fatal=1"])

    def _fio(self, load: Load, words: list[str]) -> str:
        return run(
            *("fio", "--name=nbd", "--thread", "--ioengine=nbd", f"--uri={self.uri}"),
            *(f"--rw={load.mode}", f"--bs={load.length}", f"--iodepth={load.depth}"),
            *(f"--numjobs={load.connections}", "--group_reporting", "--output-format=json"),
            # Neither a file of its own nor a tenth of a second for looking at the cores' clocks.
            *("--verify_state_save=0", "--clocksource=clock_gettime"),
            *words,
        ).stdout


def sample(load: Load, text: str, server_s: float) -> Sample:
    """Return what fio said, as the requests per second or MB/s, with what each request took.

    Raises:
        BenchFailed: fio met errors, or made no request.
    """
    # The engine has words of its own before the document.
    found = json.loads(text[text.index("{") :])["jobs"][0]
    done = found["write" if load.is_write else "read"]
    if found["error"] or not done["total_ios"]:
        raise BenchFailed(f"fio: error {found['error']}, {done['total_ios']} requests")
    # Shares of the time of one connection, in percent.
    busy = (found["usr_cpu"] + found["sys_cpu"]) / 100 * load.connections
    client_s = busy * done["runtime"] / 1000
    percentiles = done["clat_ns"]["percentile"]
    details = {
        "p50_ms": percentiles["50.000000"] / 1e6,
        "p99_ms": percentiles["99.000000"] / 1e6,
        "client_cpu_us": client_s * 1e6 / done["total_ios"],
        "server_cpu_us": server_s * 1e6 / done["total_ios"],
    }
    return Sample(done["iops"] if load.is_random else done["bw_bytes"] / 1e6, details)
