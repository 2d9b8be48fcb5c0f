"""A client whose drives come, change in every way there is, and go."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace

from faults.load import Client, Step, mixed_sectors

SIZE_MAX = 600_000
DRIVES_MAX = 6


@dataclass(frozen=True)
class Expected:
    """What one drive has to be."""

    name: str
    note: str
    content: bytes

    def resized(self, size: int) -> "Expected":
        return replace(self, content=self.content[:size].ljust(size, b"\0"))

    def written(self, offset: int, data: bytes) -> "Expected":
        end = offset + len(data)
        return replace(self, content=self.content[:offset] + data + self.content[end:])


@dataclass(frozen=True)
class Open:
    """An operation whose outcome is not known: the drive, and what it is if it was done."""

    drive: str
    after: Expected | None
    is_write: bool = False


class Owner(Client):
    """Changes its drives one operation at a time, so at most one outcome is open."""

    drives: dict[str, Expected]
    _open: Open | None = None
    _created: tuple[Expected, ...] = ()

    def steps(self) -> list[Step]:
        self.drives = getattr(self, "drives", {})
        return [self._step]

    def _step(self) -> None:
        kinds: list[Callable[[], None]] = [self._write, self._write, self._write, self._compare_one]
        kinds += [self._rename, self._resize, self._resize_and_rename, self._image, self._create]
        if len(self.drives) > 3:
            kinds += [self._destroy]
        (self.random.choice(kinds) if self.drives else self._create)()

    def _any(self) -> tuple[str, Expected]:
        return self.random.choice(list(self.drives.items()))

    def _word(self) -> str:
        return f"w{self.random.getrandbits(32)}" * self.random.randint(1, 20)

    def _size(self) -> int:
        near = self.random.randint(1, SIZE_MAX // 4096) * 4096
        return self.random.choice([near, near + 1, near - 1, self.random.randint(1, SIZE_MAX)])

    def _change(self, drive: str, after: Expected, text: str) -> None:
        self._open = Open(drive, after)
        self.done(f"/drives/{drive}/set", text)
        self._settle(drive, after)

    def _settle(self, drive: str, now: Expected | None) -> None:
        if now is None:
            self.drives.pop(drive, None)
            self.ledger.forget(drive)
        else:
            self.drives[drive] = now
        self._open = None

    def _create(self) -> None:
        if len(self.drives) >= DRIVES_MAX:
            return
        cipher = self.random.choice(["none", "aes-xts-plain"])
        made = Expected(self._word(), self._word(), bytes(self._size()))
        self._created = (made,)
        text = f"name {made.name}\nuser:note {made.note}\nsize {len(made.content)}\n"
        answer = self.done("/drives/create", f"{text}encryption:cipher {cipher}\n")
        self.drives[answer.record["drive"]] = made
        self._created = ()

    def _write(self) -> None:
        drive, now = self._any()
        offset = self.random.randrange(len(now.content))
        length = self.random.randint(1, len(now.content) - offset)
        data = self.random.choice([self.random.randbytes, bytes])(length)
        if length > 20_000 and self.random.random() < 0.5:
            data = data[:5000] + bytes(length - 10_000) + data[-5000:]
        self._put(drive, now.written(offset, data), offset, data)

    def _put(self, drive: str, after: Expected, offset: int, data: bytes) -> None:
        self._open = Open(drive, after, is_write=True)
        if self.random.random() < 0.3:
            packed = gzip.compress(data, 1)
            self.write(drive, offset, packed, len(data), **{"Content-Encoding": "gzip"})
        else:
            self.write(drive, offset, data)
        self._settle(drive, after)

    def _compare_one(self) -> None:
        drive, now = self._any()
        assert self.read_all(drive, len(now.content)) == now.content, f"drive {drive} differs"

    def _rename(self) -> None:
        drive, now = self._any()
        after = replace(now, name=self._word(), note=self._word())
        self._change(drive, after, f"name {after.name}\nuser:note {after.note}")

    def _resize(self) -> None:
        drive, now = self._any()
        after = now.resized(self._size())
        self._change(drive, after, f"size {len(after.content)}")

    def _resize_and_rename(self) -> None:
        drive, now = self._any()
        after = replace(now.resized(self._size()), name=self._word())
        self._change(drive, after, f"size {len(after.content)}\nname {after.name}")

    def _image(self) -> None:
        source, origin = self._any()
        drive, now = self._any()
        if source == drive or len(origin.content) > len(now.content):
            return
        after = now.written(0, origin.content)
        self._open = Open(drive, after)
        self.done(f"/drives/{drive}/image/{source}")
        # From here on it is promised.
        self._settle(drive, after)
        assert self.wait_until_imaged(drive)["status"] == "active"

    def _destroy(self) -> None:
        drive, _ = self._any()
        self.wait_until_imaged(drive)
        self._open = Open(drive, None)
        self.done(f"/drives/{drive}/destroy")
        self._settle(drive, None)

    def verify(self) -> None:
        listed = set(self.api("GET", "/drives/list").text.split())
        self._verify_created(listed - set(self.drives))
        opened, self._open = self._open, None
        for drive, before in list(self.drives.items()):
            if opened is None or drive != opened.drive:
                self._hold(drive, before, before)
            elif opened.after is None and drive not in listed:
                self._settle(drive, None)
            else:
                self._hold(drive, before, opened.after or before, is_write=opened.is_write)

    def _verify_created(self, unknown: set[str]) -> None:
        assert len(unknown) <= len(self._created), f"{unknown} were destroyed or never were"
        for drive in unknown:
            self.drives[drive] = self._created[0]
        self._created = ()

    def _hold(
        self, drive: str, before: Expected, after: Expected, *, is_write: bool = False
    ) -> None:
        """See that the drive is what it was before or after the open operation, and settle it."""
        info = self.wait_until_imaged(drive)
        self.ledger.check(drive, info)
        assert info["status"] == "active", info
        assert "imaging" not in info, info
        fields = (info["name"], info["user:note"], int(info["size"]))
        states = {(one.name, one.note, len(one.content)): one for one in (before, after)}
        assert fields in states, f"drive {drive} is {fields}, not one of {list(states)}"
        now, found = states[fields], self.read_all(drive, fields[2])
        if is_write:
            wrong = mixed_sectors(found, before.content, after.content)
            assert not wrong, f"drive {drive}: sectors {wrong} are neither old nor new"
            # What was being written may be a mix of sectors; another write settles it.
            self._put(drive, after, 0, after.content)
        else:
            contents = [one.content for one in (before, after) if len(one.content) == fields[2]]
            assert found in contents, f"drive {drive} differs"
            self._settle(drive, replace(now, content=found))
