"""Clients that know what they were promised, so that a killed service can be held to it."""

import http.client
import random
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from live import Answer, Server

SECTOR = 4096
PIECE = 4 * 1024 * 1024
POLL_S = 0.02
IMAGED_WITHIN_S = 120.0

# What a client sees when the service dies under it.
GONE = (OSError, http.client.HTTPException)

Step = Callable[[], None]


class Acknowledged:
    """Counts answered operations, and lets the one who kills wait for so many."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.count = 0

    def add(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_for(self, more: int) -> bool:
        """Wait for *more* answers from now on; whether they came."""
        with self._changed:
            wanted = self.count + more
            return self._changed.wait_for(lambda: self.count >= wanted, timeout=120)


@dataclass
class Count:
    """Bytes and requests: what was answered, and what may have been counted besides."""

    answered: int = 0
    open: int = 0


class Ledger:
    """What a drive's counters have to show, from the side of its only client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, Count]] = defaultdict(lambda: defaultdict(Count))

    @contextmanager
    def counting(self, drive: str, kind: str, length: int) -> Iterator[None]:
        """Note a read or write of *length* bytes; an AssertionError says that it was refused."""
        sums = {f"{kind}:bytes": length, f"{kind}:requests": 1}
        self._add(drive, sums, open=1)
        try:
            yield
        except AssertionError:
            self._add(drive, sums, open=-1)
            raise
        self._add(drive, sums, open=-1, answered=1)

    def _add(self, drive: str, sums: dict[str, int], *, open: int, answered: int = 0) -> None:
        with self._lock:
            for key, value in sums.items():
                self._counts[drive][key].open += open * value
                self._counts[drive][key].answered += answered * value

    def check(self, drive: str, info: dict[str, str]) -> None:
        """Hold the record to what was answered; nothing of the drive may be in flight."""
        for key, count in self._counts[drive].items():
            found = int(info[key])
            least, most = count.answered, count.answered + count.open
            assert least <= found <= most, f"{drive}: {key} {found}, not {least} to {most}"
            self._counts[drive][key] = Count(answered=found)

    def forget(self, drive: str) -> None:
        self._counts.pop(drive, None)


class Client:
    """One user of the service, with one thread for each of its steps."""

    def __init__(self, server: Server, name: str, seed: int, acknowledged: Acknowledged) -> None:
        self._server = server
        self._acknowledged = acknowledged
        self._pause = threading.Event()
        self.name = name
        self.user = server.add_user(name)
        self.random = random.Random(f"{name} {seed}")
        self.ledger = Ledger()
        self.errors: list[str] = []

    def steps(self) -> list[Step]:
        """Return what to do again and again, each in a thread of its own."""
        raise NotImplementedError

    def verify(self) -> None:
        """Hold the restarted service to everything that was acknowledged."""
        raise NotImplementedError

    def work(self, step: Step) -> None:
        """Do *step* until the service is gone."""
        try:
            while True:
                step()
                self._acknowledged.add()
        except GONE:
            return
        except Exception:  # noqa: BLE001 - whatever it was, the test is to tell of it
            self.errors.append(f"{self.name}: {traceback.format_exc()}")

    def api(self, method: str, path: str, body: bytes | str = b"", **headers: str) -> Answer:
        return self._server.api(method, path, body, user=self.user, headers=headers)

    def done(self, path: str, body: bytes | str = b"", **headers: str) -> Answer:
        """Make a change that must be answered with success."""
        answer = self.api("POST", path, body, **headers)
        assert answer.status in {200, 204}, f"{path}: {answer}"
        return answer

    def info(self, drive: str) -> dict[str, str]:
        answer = self.api("GET", f"/drives/{drive}/info/full")
        assert answer.status == 200, f"drive {drive} is lost: {answer}"
        return answer.record

    def read(self, drive: str, offset: int, length: int) -> bytes:
        with self.ledger.counting(drive, "read", length):
            answer = self.api("GET", f"/drives/{drive}/read/{offset}/{length}")
            assert answer.status == 200, answer
            assert len(answer.body) == length
        return answer.body

    def read_all(self, drive: str, size: int) -> bytes:
        return b"".join(
            self.read(drive, offset, min(PIECE, size - offset)) for offset in range(0, size, PIECE)
        )

    def write(
        self, drive: str, offset: int, body: bytes, length: int | None = None, **headers: str
    ) -> None:
        """Write *body*, which is *length* bytes long when it is unpacked."""
        with self.ledger.counting(drive, "write", len(body) if length is None else length):
            self.done(f"/drives/{drive}/write/{offset}", body, **headers)

    def wait_until_imaged(self, drive: str) -> dict[str, str]:
        """Wait for the end of an imaging onto or from the drive, and return the record then."""
        latest = time.monotonic() + IMAGED_WITHIN_S
        while time.monotonic() < latest:
            info = self.info(drive)
            if info.get("imaging", "failed") == "failed" and "claimed" not in info:
                return info
            self._pause.wait(POLL_S)
        raise AssertionError(f"the imaging does not end: {info}")


def mixed_sectors(found: bytes, one: bytes, other: bytes) -> list[int]:
    """Return the sectors of *found* that are neither those of *one* nor those of *other*."""
    return [
        at // SECTOR
        for at in range(0, len(found), SECTOR)
        if found[at : at + SECTOR] not in (one[at : at + SECTOR], other[at : at + SECTOR])
    ]
