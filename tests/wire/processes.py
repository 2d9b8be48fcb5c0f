"""What the processes of a service hold."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from live import Server


@dataclass(frozen=True)
class Process:
    """One process of a service."""

    pid: int

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def sockets(self) -> int:
        """How many of those are sockets: connections, and a few that are always there."""
        count = 0
        for path in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # Closed since it was listed.
                count += str(path.readlink()).startswith("socket:")
        return count

    @property
    def resident_bytes(self) -> int:
        """How much memory it has now."""
        return self._status("VmRSS")

    @property
    def peak_bytes(self) -> int:
        """The most memory that it has had since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin anew with the peak (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def workers(server: Server) -> list[Process]:
    """Return the HTTP workers."""
    return [Process(server.pid_of(f"http-{index}")) for index in range(server.workers)]


def peaks_grown(server: Server, before: dict[Process, int]) -> int:
    """Return by how much the memory of the worker that needed most had grown past *before*."""
    return max(process.peak_bytes - before[process] for process in workers(server))


def memory_before(server: Server) -> dict[Process, int]:
    """Begin to measure: return what each worker has now."""
    for process in workers(server):
        process.forget_peak()
    return {process: process.resident_bytes for process in workers(server)}
