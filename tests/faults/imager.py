"""Clients who image without a pause: one through gzip and back, one who changes its mind."""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from faults.load import Client, Step, mixed_sectors

MIB = 1024 * 1024


def content_of(size: int, noise: Callable[[int], bytes]) -> bytes:
    """Return noise with a long and a short hole in it, and an end that is no whole sector."""
    quarter = size // 4
    return noise(quarter) + bytes(quarter) + noise(2 * quarter - 70_000) + bytes(70_000 - 7)


@dataclass(frozen=True)
class Stage:
    """One imaging of the chain."""

    drive: str
    source: str
    conversion: str


class Imager(Client):
    """Packs a drive, unpacks it onto another, copies it there as it is, and begins again."""

    SIZE = 12 * MIB
    _stages: tuple[Stage, ...] = ()
    _next = 0
    _promised = False
    _is_copied = False

    def steps(self) -> list[Step]:
        if not self._stages:
            self._make()
        return [self._step]

    def _make(self) -> None:
        content = content_of(self.SIZE, self.random.randbytes)
        source = self._drive(f"size {len(content)}")
        packed = self._drive(f"size {2 * self.SIZE}\nencryption:cipher none")
        copy = self._drive(f"size {len(content)}")
        self.write(source, 0, content)
        self._size, self._digest = len(content), hashlib.sha256(content).digest()
        self._stages = (
            Stage(packed, source, "/gzip"),
            Stage(copy, packed, "/gunzip"),
            Stage(copy, source, ""),
        )

    def _drive(self, text: str) -> str:
        return self._server.create(text, user=self.user)

    def _step(self) -> None:
        stage = self._stages[self._next]
        if not self._promised:
            # What is there from the round before must not be taken for what is to come.
            self._wipe(stage.drive)
            self.done(f"/drives/{stage.drive}/image/{stage.source}{stage.conversion}")
            self._promised = True
        self._end(stage)

    def _wipe(self, drive: str) -> None:
        self._is_copied = self._is_copied and drive != self._stages[-1].drive
        size = int(self.info(drive)["size"])
        packed = gzip.compress(bytes(size), 1)
        self.write(drive, 0, packed, size, **{"Content-Encoding": "gzip"})

    def _end(self, stage: Stage) -> None:
        info = self.wait_until_imaged(stage.drive)
        assert info["status"] == "active", info
        self._promised = False
        self._is_copied = self._is_copied or stage.drive == self._stages[-1].drive
        self._next = (self._next + 1) % len(self._stages)

    def verify(self) -> None:
        """Let what was promised come to its end, and compare the copy with the source."""
        stage = self._stages[self._next]
        for one in self._stages:
            info = self.wait_until_imaged(one.drive)
            assert info["status"] == "active", info
        # A stage that was asked for and not promised is done again, whether it was done or not.
        if self._promised:
            self._end(stage)
        if self._next == 1:
            # The packed drive is whole: unpack it, to the end.
            self._step()
        if self._is_copied:
            found = self.read_all(self._stages[-1].drive, self._size)
            assert hashlib.sha256(found).digest() == self._digest, f"wrong content after {stage}"


class Canceller(Client):
    """Images onto a drive and often cancels; what the drive holds then is written anew."""

    SIZE = 3 * MIB
    _source = ""
    _fresh = True

    def steps(self) -> list[Step]:
        if not self._source:
            self._content = content_of(self.SIZE, self.random.randbytes)
            self._before = self.random.randbytes(len(self._content))
            self._source = self._server.create(f"size {len(self._content)}", user=self.user)
            self._drive = self._server.create(f"size {len(self._content)}", user=self.user)
            self.write(self._source, 0, self._content)
            self.write(self._drive, 0, self._before)
        return [self._step]

    def _step(self) -> None:
        self._fresh = False
        self.done(f"/drives/{self._drive}/image/{self._source}")
        self._pause.wait(self.random.choice([0, 0, 0.01, 0.03]))
        answer = self.api("POST", f"/drives/{self._drive}/image/cancel")
        # 409: it was over before.
        assert answer.status in {204, 409}, answer
        if answer.status == 204:
            self._settle(self.info(self._drive))
        else:
            info = self.info(self._drive)
            assert info["status"] == "active", info
            assert self.read_all(self._drive, len(self._content)) == self._content
            self._put_back()

    def _settle(self, info: dict[str, str]) -> None:
        """See that the drive tells the truth about what it holds, and put the old content back."""
        assert info.get("imaging", "failed") == "failed", info
        assert ("imaging" in info) == (info["status"] == "inactive"), info
        found = self.read_all(self._drive, len(self._content))
        if "imaging" in info:
            assert info["imaging:error"] == "cancelled by its owner", info
            wrong = mixed_sectors(found, self._before, self._content)
            assert not wrong, f"sectors {wrong} are from neither"
        else:
            # Never begun, or just over.
            assert found in {self._before, self._content}, "half of an image shows as active"
        self._put_back()

    def _put_back(self) -> None:
        self.write(self._drive, 0, self._before)
        assert self.info(self._drive)["status"] == "active"
        self._fresh = True

    def verify(self) -> None:
        for drive in (self._source, self._drive):
            info = self.wait_until_imaged(drive)
            self.ledger.check(drive, info)
        assert self.read_all(self._source, len(self._content)) == self._content
        if self._fresh:
            assert info["status"] == "active", info
            assert self.read_all(self._drive, len(self._content)) == self._before
        else:
            self._fresh = True
            self._settle_after_kill(info)

    def _settle_after_kill(self, info: dict[str, str]) -> None:
        """Do as `_settle`, where also the write that puts the old content back may be half done."""
        if info["status"] == "active":
            found = self.read_all(self._drive, len(self._content))
            wrong = mixed_sectors(found, self._before, self._content)
            assert not wrong, f"sectors {wrong} are from neither"
            self._put_back()
        else:
            self._settle(info)
