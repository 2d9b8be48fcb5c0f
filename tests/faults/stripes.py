"""A client with many threads on one drive: writers side by side, readers, and changes of the rest."""

import gzip
import struct
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from faults.load import PIECE, SECTOR, Client, Step

RECORD = struct.Struct("<QQ")

# Each stripe begins where the one before ends, inside a sector, so that neighbours share sectors;
# the first is longer than one piece of a write.
LENGTHS = (PIECE + 999 * RECORD.size, 5 * RECORD.size, 40_000 * RECORD.size, 3001 * RECORD.size)
START = 5 * RECORD.size


@dataclass
class Stripe:
    """One writer's part of the drive, filled with the number of its latest write."""

    number: int
    offset: int
    length: int
    acknowledged: int = 0
    sent: int = 0

    def content(self, turn: int) -> bytes:
        return RECORD.pack(self.number, turn) * (self.length // RECORD.size)

    def turns(self, data: bytes) -> set[int]:
        """Return the numbers of the writes that *data*, a part of the stripe, comes from."""
        whole = memoryview(data)[: len(data) // RECORD.size * RECORD.size]
        records = set(RECORD.iter_unpack(whole))
        assert {number for number, _ in records} <= {self.number}, f"strange bytes in {self}"
        return {turn for _, turn in records}


@dataclass
class Field:
    """A value of the record that one thread sets, counting up."""

    acknowledged: int = 0
    sent: int = 0

    def check(self, found: int) -> None:
        assert self.acknowledged <= found <= self.sent, f"{found} is not what was set: {self}"
        self.acknowledged = self.sent = found


@dataclass
class Changes:
    """What else is set on the drive while it is written to."""

    note: Field = field(default_factory=Field)
    name: Field = field(default_factory=Field)
    tail: Field = field(default_factory=Field)


class Stripes(Client):
    """Writers who share sectors but no byte, readers who must not see half of a write."""

    _drive = ""

    def steps(self) -> list[Step]:
        if not self._drive:
            self._make()
        reads = [partial(self._read, stripe) for stripe in self._stripes]
        return [
            *(partial(self._write, stripe) for stripe in self._stripes),
            partial(self._one_of, reads),
            partial(self._set, self._changes.note, "user:note {}"),
            partial(self._set, self._changes.name, "name {}"),
            self._grow,
        ]

    def _make(self) -> None:
        self._stripes, offset = [], START
        for number, length in enumerate(LENGTHS):
            self._stripes.append(Stripe(number, offset, length))
            offset += length
        self._size = offset + 1
        self._changes = Changes()
        text = f"size {self._size}\nname 0\nuser:note 0"
        self._drive = self._server.create(text, user=self.user)
        for stripe in self._stripes:
            self._write(stripe)

    def _one_of(self, steps: list[Step]) -> None:
        self.random.choice(steps)()

    def _write(self, stripe: Stripe) -> None:
        stripe.sent = stripe.acknowledged + 1
        content = stripe.content(stripe.sent)
        if stripe.sent % 3:
            packed = gzip.compress(content, 1)
            encoding = {"Content-Encoding": "gzip"}
            self.write(self._drive, stripe.offset, packed, len(content), **encoding)
        else:
            self.write(self._drive, stripe.offset, content)
        stripe.acknowledged = stripe.sent

    def _read(self, stripe: Stripe) -> None:
        """Read what one write puts in place as a whole: a stripe, or its first piece."""
        least = stripe.acknowledged
        data = self.read(self._drive, stripe.offset, min(stripe.length, PIECE))
        turns = stripe.turns(data)
        assert len(turns) == 1, f"a read saw parts of the writes {turns}: {stripe}"
        assert least <= min(turns) <= stripe.sent, f"a read saw {turns}: {stripe}"

    def _set(self, value: Field, text: str) -> None:
        value.sent = value.acknowledged + 1
        self.done(f"/drives/{self._drive}/set", text.format(value.sent))
        value.acknowledged = value.sent

    def _grow(self) -> None:
        tail = self._changes.tail
        tail.sent = tail.acknowledged + 1
        answer = self.api("POST", f"/drives/{self._drive}/set", f"size {self._size + tail.sent}")
        # Transfers without a pause may keep a change of size out.
        assert answer.status in {200, 409}, answer
        tail.acknowledged = tail.sent = tail.sent if answer.status == 200 else tail.acknowledged

    def verify(self) -> None:
        info = self.info(self._drive)
        self.ledger.check(self._drive, info)
        assert info["status"] == "active", info
        self._changes.note.check(int(info["user:note"]))
        self._changes.name.check(int(info["name"]))
        self._changes.tail.check(int(info["size"]) - self._size)
        for stripe in self._stripes:
            self._hold(stripe)

    def _hold(self, stripe: Stripe) -> None:
        content = self._whole(stripe)
        if stripe.sent == stripe.acknowledged:
            assert content == stripe.content(stripe.sent), (
                f"an acknowledged write is lost: {stripe}"
            )
            return
        # Sector by sector it is the open write or the one before it; a longer write than a piece may
        # have come to the end of one, inside a sector.
        allowed = {stripe.acknowledged, stripe.sent}
        edges = {0, *range(-stripe.offset % SECTOR, stripe.length, SECTOR), stripe.length}
        edges |= set(range(0, stripe.length, PIECE))
        for start, end in pairwise(sorted(edges)):
            turns = stripe.turns(content[start:end])
            assert len(turns) <= 1, f"a sector is torn at {start} of {stripe}: {turns}"
            assert turns <= allowed, f"{turns} at {start} of {stripe}"
        stripe.acknowledged = stripe.sent
        self._write(stripe)

    def _whole(self, stripe: Stripe) -> bytes:
        data = []
        for start in range(0, stripe.length, PIECE):
            length = min(PIECE, stripe.length - start)
            data.append(self.read(self._drive, stripe.offset + start, length))
        return b"".join(data)
