"""A mixed load that knows what was acknowledged, so that a killed service can be held to it."""

import hashlib
import http.client
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from live import Answer, Credentials, Server

BLOCK = 128 * 1024
BLOCKS_MAX = 8
SECTOR = 4096
OWNERS = 3

# What a client sees when the service dies under it.
GONE = (OSError, http.client.HTTPException)


def block_of(tag: int) -> bytes:
    """Return the block that *tag* names; 0 names zeros."""
    return bytes(BLOCK) if tag == 0 else random.Random(tag).randbytes(BLOCK)


@dataclass(frozen=True)
class Expected:
    """What one drive has to be."""

    name: str
    tags: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.tags) * BLOCK

    def with_block(self, index: int, tag: int) -> "Expected":
        return replace(self, tags=(*self.tags[:index], tag, *self.tags[index + 1 :]))

    def resized(self, count: int) -> "Expected":
        return replace(self, tags=(*self.tags, *[0] * BLOCKS_MAX)[:count])


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


class Owner:
    """One user with drives, and at most one operation whose outcome is not known."""

    def __init__(self, server: Server, seed: int, acknowledged: Acknowledged) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._acknowledged = acknowledged
        self.user: Credentials = server.add_user(f"owner-{seed}")
        self.drives: dict[str, Expected] = {}
        # The drive of the open operation, and what it is after it; None stands for a destroy.
        self.open: tuple[str, Expected | None] | None = None
        self.is_creating = False
        self.errors: list[str] = []

    def work(self) -> None:
        """Change drives until the service is gone."""
        try:
            while True:
                self._one_operation()
                self._acknowledged.add()
        except GONE:
            return
        except AssertionError as error:
            self.errors.append(str(error))

    def _one_operation(self) -> None:
        kinds: list[Callable[[], None]] = [self._write, self._write, self._write, self._rename]
        kinds += [self._resize, self._image, self._create]
        if len(self.drives) > 3:
            kinds += [self._destroy]
        (self._random.choice(kinds) if self.drives else self._create)()

    def _api(self, method: str, path: str, body: bytes | str = b"") -> Answer:
        return self._server.api(method, path, body, user=self.user)

    def _expect(self, drive: str, after: Expected | None, path: str, body: bytes | str) -> None:
        self.open = (drive, after)
        answer = self._api("POST", f"/drives/{drive}/{path}", body)
        assert answer.status in {200, 204}, f"{path}: {answer}"
        self._settle(drive, after)

    def _settle(self, drive: str, now: Expected | None) -> None:
        if now is None:
            self.drives.pop(drive, None)
        else:
            self.drives[drive] = now
        self.open = None

    def _any(self) -> tuple[str, Expected]:
        return self._random.choice(list(self.drives.items()))

    def _create(self) -> None:
        if len(self.drives) > 5:
            return
        cipher = self._random.choice(["none", "aes-xts-plain"])
        count = self._random.randint(1, BLOCKS_MAX)
        name = f"n{self._random.getrandbits(32)}"
        self.is_creating = True
        text = f"name {name}\nsize {count * BLOCK}\nencryption:cipher {cipher}\n"
        answer = self._api("POST", "/drives/create", text)
        assert answer.status == 200, answer
        self.drives[answer.record["drive"]] = Expected(name, (0,) * count)
        self.is_creating = False

    def _write(self) -> None:
        drive, now = self._any()
        index, tag = self._random.randrange(len(now.tags)), self._random.getrandbits(40)
        tag *= self._random.random() < 0.9
        after = now.with_block(index, tag)
        self._expect(drive, after, f"write/{index * BLOCK}", block_of(tag))

    def _rename(self) -> None:
        drive, now = self._any()
        name = f"n{self._random.getrandbits(32)}"
        self._expect(drive, replace(now, name=name), "set", f"name {name}")

    def _resize(self) -> None:
        drive, now = self._any()
        after = now.resized(self._random.randint(1, BLOCKS_MAX))
        self._expect(drive, after, "set", f"size {after.size}")

    def _image(self) -> None:
        source, origin = self._any()
        drive, now = self._any()
        if source == drive or origin.size > now.size:
            return
        after = replace(now, tags=origin.tags + now.tags[len(origin.tags) :])
        self._expect(drive, after, f"image/{source}", b"")
        self.open = (drive, after)
        self._wait_until_imaged(drive)
        self.open = None

    def _destroy(self) -> None:
        drive, _ = self._any()
        self._expect(drive, None, "destroy", b"")

    def _wait_until_imaged(self, drive: str) -> None:
        while True:
            info = self._api("GET", f"/drives/{drive}/info").record
            if "imaging" not in info and "claimed" not in info:
                return
            assert info.get("imaging") != "failed", info

    def verify(self) -> None:
        """Hold the restarted service to everything that was acknowledged."""
        assert not self.errors, self.errors
        listed = set(self._api("GET", "/drives/list").text.split())
        for drive in listed - set(self.drives):
            assert self.is_creating, f"drive {drive} was destroyed or never was"
            self._wait_until_imaged(drive)
            self._api("POST", f"/drives/{drive}/destroy")
            listed.discard(drive)
        self.is_creating = False
        open_drive, after = self.open or ("", None)
        for drive, before in list(self.drives.items()):
            if drive != open_drive:
                assert drive in listed, f"drive {drive} is lost"
                self._wait_until_imaged(drive)
                self._compare(drive, before, before)
            elif after is None and drive not in listed:
                self._settle(drive, None)
            else:
                self._wait_until_imaged(drive)
                self._settle_by_what_is(drive, before, after or before)
        self.open = None

    def _settle_by_what_is(self, drive: str, before: Expected, after: Expected) -> None:
        info = self._compare(drive, before, after)
        now = after if int(info["size"]) == after.size else before
        now = replace(now, name=info["name"])
        self._settle(drive, now)
        if before.size == after.size:
            # What was being written may be a mix of sectors; another write settles it.
            for index, (old, new) in enumerate(zip(before.tags, after.tags, strict=True)):
                if old != new:
                    path = f"write/{index * BLOCK}"
                    self._expect(drive, now.with_block(index, new), path, block_of(new))
                    now = self.drives[drive]

    def _compare(self, drive: str, before: Expected, after: Expected) -> dict[str, str]:
        info = self._api("GET", f"/drives/{drive}/info").record
        assert info["status"] == "active", info
        assert info["name"] in {before.name, after.name}, info
        assert int(info["size"]) in {before.size, after.size}, info
        now = after if int(info["size"]) == after.size else before
        for index, tag in enumerate(now.tags):
            found = self._api("GET", f"/drives/{drive}/read/{index * BLOCK}/{BLOCK}").body
            old = before.tags[index] if index < len(before.tags) else 0
            new = after.tags[index] if index < len(after.tags) else tag
            wanted = {block_of(old), block_of(new)}
            if found in wanted:
                continue
            for at in range(0, BLOCK, SECTOR):
                sector = found[at : at + SECTOR]
                assert any(sector == block[at : at + SECTOR] for block in wanted), (
                    f"drive {drive} block {index} sector {at // SECTOR}: neither old nor new"
                )
        return info


class Imager:
    """One user whose larger drives are imaged without a pause, through gzip and back."""

    SIZE = 24 * 1024 * 1024

    def __init__(self, server: Server, acknowledged: Acknowledged) -> None:
        self._server = server
        self._acknowledged = acknowledged
        self.user = server.add_user("imager")
        self.errors: list[str] = []
        self._source = self._made(f"size {self.SIZE}")
        self._packed = self._made(f"size {2 * self.SIZE}\nencryption:cipher none")
        self._copy = self._made(f"size {self.SIZE}")
        content = bytearray(self.SIZE)
        content[: self.SIZE // 2] = random.Random(1).randbytes(self.SIZE // 2)
        answer = self._api("POST", f"/drives/{self._source}/write", bytes(content))
        assert answer.status == 204, answer
        self._digest = hashlib.sha256(content).hexdigest()
        # What has begun and must end, in order: destination, source, conversion.
        steps = [(self._packed, self._source, "/gzip"), (self._copy, self._packed, "/gunzip")]
        steps += [(self._copy, self._source, "")]
        self._steps = steps
        self._next = 0
        self._is_open = False

    def _made(self, text: str) -> str:
        return self._server.create(text, user=self.user)

    def _api(self, method: str, path: str, body: bytes = b"") -> Answer:
        return self._server.api(method, path, body, user=self.user)

    def work(self) -> None:
        """Image, step after step, until the service is gone."""
        try:
            while True:
                self._step()
                self._acknowledged.add()
        except GONE:
            return
        except AssertionError as error:
            self.errors.append(str(error))

    def _step(self) -> None:
        drive, source, conversion = self._steps[self._next]
        if not self._is_open:
            answer = self._api("POST", f"/drives/{drive}/image/{source}{conversion}")
            assert answer.status == 204, answer
            self._is_open = True
        self._wait(drive)
        self._is_open = False
        self._next = (self._next + 1) % len(self._steps)

    def _wait(self, drive: str) -> None:
        while True:
            info = self._api("GET", f"/drives/{drive}/info/full").record
            assert info.get("imaging") != "failed", info
            if "imaging" not in info:
                return

    def verify(self) -> None:
        """Let what was acknowledged come to its end, and compare the copy with the source."""
        assert not self.errors, self.errors
        for drive, _, _ in self._steps:
            self._wait(drive)
        if self._is_open:
            self._is_open = False
            self._next = (self._next + 1) % len(self._steps)
        if self._next != 1:
            return
        # The packed drive is whole: unpack it once more, to the end.
        self._step()
        found = hashlib.sha256()
        for offset in range(0, self.SIZE, 4 * 1024 * 1024):
            found.update(self._api("GET", f"/drives/{self._copy}/read/{offset}/4M").body)
        assert found.hexdigest() == self._digest, "the copy differs from its source"
