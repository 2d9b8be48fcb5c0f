"""Answers without waiting are the answers: also right behind a change, whoever made it.

Two processes stand on one catalog and one store; what one remembers, the other changes.
"""

import base64
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.stacks import SECTOR, pattern
from drivebay import folder
from drivebay.catalog import Rows
from drivebay.catalog import users as user_rows
from drivebay.errors import (
    DrivebayError,
    DriveBusy,
    DriveNotFound,
    NotAuthenticated,
    ReadPastEnd,
    StorageFailed,
)
from drivebay.http import now
from drivebay.http.auth import credentials
from drivebay.http.framing import Head
from drivebay.http.now import READ_MAX, NowAnswers
from drivebay.keys import MasterKey
from drivebay.model import Conversion
from drivebay.service import accounts, drives, imaging, transfer
from drivebay.service.context import Context, DataKeys
from drivebay.service.counters import Counters
from drivebay.service.transfer import Upload
from drivebay.storage.file import FileStore
from drivebay.storage.memory import MemoryStore
from drivebay.storage.volume import Store
from drivebay.units import KIB

SIZE = 100 * KIB + 300
CONTENT = pattern(SIZE)
NAMES = ("one", "other")
_MEMORY = Path("/dev/shm")

Outcome = bytes | type[DrivebayError]


@dataclass(frozen=True)
class User:
    uuid: UUID
    key: str

    @property
    def authorization(self) -> bytes:
        return b"Basic " + base64.b64encode(f"{self.uuid}:{self.key}".encode())


def head(path: str, *authorizations: bytes, method: str = "GET") -> Head:
    headers = [(b"host", b"x"), *((b"authorization", value) for value in authorizations)]
    return Head(method, path.encode(), "1.1", headers, True, 0, False)


class Process:
    """One worker: what it answers at once, and what its application would do."""

    def __init__(self, data: Path, name: str, store: Store) -> None:
        catalog = folder.catalog_of(data)
        self.ctx = Context(
            catalog=catalog,
            rows=Rows(catalog),
            stores={"default": store},
            keys=DataKeys(MasterKey(bytes(32))),
            counters=Counters(data / "counters", name, NAMES),
        )
        self.authenticator = accounts.Authenticator(catalog, self.ctx.rows)
        self.answers = NowAnswers(self.ctx, self.authenticator)

    def now(self, user: User, drive: UUID, offset: int = 0, length: int = SECTOR) -> bytes | None:
        """Return the bytes of the answer that is made without waiting, if one is."""
        answer = self.answers(head(f"/drives/{drive}/read/{offset}/{length}", user.authorization))
        if answer is None:
            return None
        start, _, body = answer.partition(b"\r\n\r\n")
        assert start.startswith(b"HTTP/1.1 200 OK\r\n")
        assert f"content-length: {len(body)}".encode() in start
        return body

    def read(self, user: User, drive: UUID, offset: int = 0, length: int = SECTOR) -> Outcome:
        """Return what a caller gets who asks: the bytes, or the failure."""
        answer = self.now(user, drive, offset, length)
        if answer is not None:
            return answer
        buffer = bytearray(length)
        try:
            known = self.authenticator.user(*credentials([user.authorization.decode()]))
            transfer.read(self.ctx, known.uuid, drive, offset, memoryview(buffer))
        except DrivebayError as failure:
            return type(failure)
        return bytes(buffer)

    def warm(self, user: User, drive: UUID) -> None:
        """Read until that takes no waiting."""
        for _ in range(3):
            assert self.read(user, drive) == CONTENT[:SECTOR]
        assert self.now(user, drive) == CONTENT[:SECTOR]

    def write(self, user: User, drive: UUID, data: bytes) -> None:
        upload = Upload(self.ctx, user.uuid, drive, 0, length=len(data), gzip=False)
        upload.begin()
        upload.feed(memoryview(bytearray(data)), is_last=True)

    def change(self, user: User, drive: UUID, **pairs: str) -> None:
        drives.change(self.ctx, user.uuid, drive, lambda: pairs)

    def close(self) -> None:
        self.ctx.counters.close()
        self.ctx.catalog.close()
        self.ctx.stores["default"].close_idle(unused_s=0)


@dataclass
class House:
    """Two processes, an owner with a drive, and a reader of it."""

    reading: Process
    changing: Process
    store: Path
    owner: User = field(init=False)
    reader: User = field(init=False)
    drive: UUID = field(init=False)

    def settle(self, cipher: str) -> "House":
        """Make the users and the drive, and have the reading process remember them."""
        ctx = self.reading.ctx
        with ctx.catalog.write() as tx:
            added = [accounts.add(tx, name, drives=None, size_bytes=None) for name in ("a", "b")]
        self.owner, self.reader = (User(user.uuid, key) for user, key in added)
        self.drive = self.make(cipher, readers=str(self.reader.uuid))
        self.reading.write(self.owner, self.drive, CONTENT)
        for user in (self.owner, self.reader):
            self.reading.warm(user, self.drive)
        return self

    def make(self, cipher: str, **pairs: str) -> UUID:
        """Make a drive of the owner's."""
        given = {"size": str(SIZE), "encryption:cipher": cipher, **pairs}
        record = drives.create(self.reading.ctx, self.owner.uuid, given)
        return UUID(record["drive"])

    def read(self, user: User | None = None, offset: int = 0, length: int = SECTOR) -> Outcome:
        """Read in the process that remembers."""
        return self.reading.read(user or self.owner, self.drive, offset, length)


def settled(stack: ExitStack, base: Path, kind: str, *, by: str, cipher: str) -> House:
    """Return a house on a data folder in *base*."""
    data = base / "data"
    folder.prepare(data)
    folder.make_counter_files(data, NAMES)
    path, shared = base / "store", MemoryStore("default", "default")

    def store() -> Store:
        if kind == "memory":
            return shared
        made = FileStore("default", "default", path)
        made.prepare("here", first=True)
        return made

    one, other = (stack.enter_context(closing(Process(data, name, store()))) for name in NAMES)
    return House(one, one if by == "itself" else other, path).settle(cipher)


@contextmanager
def made_folder() -> Iterator[Path]:
    """Make a folder, in memory if that can be: no read of a file waits for a disk there."""
    where = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="drivebay-now-", dir=where) as made:
        yield Path(made)


@pytest.fixture(scope="module", params=["memory", "file"])
def kind(request) -> str:
    return request.param


@pytest.fixture(params=["itself", "another"])
def house(kind, request) -> Iterator[House]:
    """What changes is changed by the process that remembers, or by another one."""
    with made_folder() as base, ExitStack() as stack:
        yield settled(stack, base, kind, by=request.param, cipher="aes-xts-plain")


@pytest.fixture(scope="module", params=["aes-xts-plain", "none"])
def quiet_house(kind, request) -> Iterator[House]:
    """With each cipher; nothing may be committed, or nothing would be remembered."""
    with made_folder() as base, ExitStack() as stack:
        yield settled(stack, base, kind, by="itself", cipher=request.param)


def test_a_key_that_was_replaced_is_refused_and_the_new_one_taken(house):
    with house.changing.ctx.catalog.write() as tx:
        row = house.changing.ctx.rows.user(house.reader.uuid)
        key = accounts.rotate_key(tx, row)

    assert house.read(house.reader) is NotAuthenticated
    assert house.read(User(house.reader.uuid, key)) == CONTENT[:SECTOR]
    assert house.read(house.reader) is NotAuthenticated
    assert house.read() == CONTENT[:SECTOR]


def test_a_user_who_was_disabled_reads_nothing_until_enabled_again(house):
    for enabled in (False, True):
        with house.changing.ctx.catalog.write() as tx:
            user_rows.change(tx, house.reader.uuid, enabled=enabled)

        expected = CONTENT[:SECTOR] if enabled else NotAuthenticated
        assert [house.read(house.reader) for _ in range(3)] == [expected] * 3
        assert house.read() == CONTENT[:SECTOR]


def test_who_is_no_reader_any_more_finds_no_drive(house):
    house.changing.change(house.owner, house.drive, readers="")

    assert [house.read(house.reader) for _ in range(3)] == [DriveNotFound] * 3
    assert house.read() == CONTENT[:SECTOR]

    house.changing.change(house.owner, house.drive, readers=str(house.reader.uuid))

    assert house.read(house.reader) == CONTENT[:SECTOR]


def test_what_was_cut_off_is_not_read_and_does_not_come_back(house):
    smaller = 2 * SECTOR + 100
    house.changing.change(house.owner, house.drive, size=str(smaller))

    assert house.read(None, smaller - 100, 100) == CONTENT[smaller - 100 : smaller]
    assert house.read(None, smaller - 100, 101) is ReadPastEnd
    assert house.read(None, SIZE - 100, 100) is ReadPastEnd
    assert house.read() == CONTENT[:SECTOR]

    house.changing.change(house.owner, house.drive, size=str(SIZE))

    expected = CONTENT[smaller - 100 : smaller] + bytes(SECTOR - 100)
    assert [house.read(None, smaller - 100) for _ in range(3)] == [expected] * 3


def test_what_was_added_is_read_at_once(house):
    assert house.read(None, SIZE, SECTOR) is ReadPastEnd

    house.changing.change(house.owner, house.drive, size=str(SIZE + SECTOR))

    assert house.read(None, SIZE, SECTOR) == bytes(SECTOR)
    assert house.read(None, SIZE - 5, 10) == CONTENT[-5:] + bytes(5)


def test_a_drive_that_was_destroyed_is_not_found(house):
    drives.destroy(house.changing.ctx, house.owner.uuid, house.drive)

    for user in (house.owner, house.reader):
        assert [house.read(user) for _ in range(3)] == [DriveNotFound] * 3


def test_a_drive_that_is_being_imaged_is_not_read_until_the_imaging_is_over(house):
    ctx = house.changing.ctx
    source = house.make("none")
    house.reading.warm(house.owner, house.drive)

    imaging.image(ctx, house.owner.uuid, house.drive, source, Conversion.NONE)

    assert [house.read() for _ in range(3)] == [DriveBusy] * 3
    assert imaging.Runner(ctx).run_next()
    assert [house.read() for _ in range(3)] == [bytes(SECTOR)] * 3


def test_what_was_written_is_read(house):
    for byte in b"abc":
        house.changing.write(house.owner, house.drive, bytes([byte]) * SECTOR)

        assert house.read() == bytes([byte]) * SECTOR


def test_what_others_commit_ends_nothing_but_what_is_remembered(house):
    for _ in range(3):
        house.changing.change(house.owner, house.drive, name="new")

        assert house.read() == CONTENT[:SECTOR]

    house.reading.warm(house.owner, house.drive)


@pytest.mark.parametrize("by", ["itself", "another"])
def test_a_store_that_was_taken_away_is_missed_and_another_in_its_place_is_read(by):
    with made_folder() as base, ExitStack() as stack:
        house = settled(stack, base, "file", by=by, cipher="none")
        away = base / "away"
        house.store.rename(away)

        assert [house.read() for _ in range(3)] == [StorageFailed] * 3

        other = FileStore("default", "default", house.store)
        other.prepare("here", first=True)
        other.create(house.drive, SIZE)
        with other.open(house.drive) as volume:
            volume.pwrite(0, memoryview(bytearray(b"x" * SIZE)))
        assert [house.read() for _ in range(3)] == [b"x" * SECTOR] * 3

        house.store.rename(base / "second")
        away.rename(house.store)
        assert [house.read() for _ in range(3)] == [CONTENT[:SECTOR]] * 3


RANGES = [
    (0, 1),
    (1, 1),
    (SECTOR - 1, 2),
    (SECTOR, SECTOR),
    (1, READ_MAX),
    (0, READ_MAX),
    (SIZE - READ_MAX, READ_MAX),
    (SIZE - 1, 1),
    (SIZE - 300, 300),
    (SIZE - SECTOR - 300, SECTOR + 300),
]


@pytest.mark.parametrize(("offset", "length"), RANGES)
def test_any_range_is_read_without_waiting_byte_for_byte(quiet_house, offset, length):
    found = quiet_house.reading.now(quiet_house.owner, quiet_house.drive, offset, length)

    assert found == CONTENT[offset : offset + length]


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 0),
        (SIZE, 0),
        (SIZE + 1, 0),
        (0, READ_MAX + 1),
        (0, SIZE),
        (SIZE, 1),
        (SIZE - 1, 2),
        (2**63 - 1, 1),
        (2**63 - 1, READ_MAX),
    ],
)
def test_what_is_too_long_or_past_the_end_or_nothing_is_left_to_the_application(
    quiet_house, offset, length
):
    ctx = quiet_house.reading.ctx
    number = ctx.rows.drive(quiet_house.drive).id
    before = ctx.counters.totals(number)

    assert quiet_house.reading.now(quiet_house.owner, quiet_house.drive, offset, length) is None

    assert ctx.counters.totals(number) == before
    assert quiet_house.reading.now(quiet_house.owner, quiet_house.drive) == CONTENT[:SECTOR]


@given(offset=st.integers(0, SIZE + SECTOR), length=st.integers(0, READ_MAX + SECTOR))
def test_a_read_is_the_drives_bytes_or_none(quiet_house, offset, length):
    is_inside = offset + length <= SIZE
    expected = CONTENT[offset : offset + length] if is_inside and 0 < length <= READ_MAX else None

    found = quiet_house.reading.now(quiet_house.owner, quiet_house.drive, offset, length)

    assert found == expected


def test_each_answer_is_counted_once(quiet_house):
    ctx, drive = quiet_house.reading.ctx, quiet_house.drive
    number = ctx.rows.drive(drive).id
    before = ctx.counters.totals(number)

    for length in (1, SECTOR, READ_MAX):
        assert quiet_house.reading.now(quiet_house.owner, drive, 0, length) is not None

    after = ctx.counters.totals(number)
    assert after.read_requests == before.read_requests + 3
    assert after.read_bytes == before.read_bytes + 1 + SECTOR + READ_MAX


def test_a_range_that_is_being_written_is_left_to_the_application(quiet_house):
    ctx, drive = quiet_house.reading.ctx, quiet_house.drive
    with ctx.open_volume(ctx.rows.drive(drive)) as volume:
        ctx.open_volume(ctx.rows.drive(drive)).close()  # One that is kept open for the reads.

        with volume.locked(SECTOR, SECTOR, shared=False):
            assert quiet_house.reading.now(quiet_house.owner, drive, SECTOR + 7, 1) is None
            assert quiet_house.reading.now(quiet_house.owner, drive, 0, 10) == CONTENT[:10]

        assert quiet_house.reading.now(quiet_house.owner, drive, SECTOR + 7, 1) is not None


Mangle = Callable[[User, UUID], Head]

OTHERS: dict[str, Mangle] = {
    "no credentials": lambda user, drive: head(f"/drives/{drive}/read/0/1"),
    "two": lambda user, drive: head(
        f"/drives/{drive}/read/0/1", user.authorization, user.authorization
    ),
    "another key": lambda user, drive: head(
        f"/drives/{drive}/read/0/1", User(user.uuid, "x").authorization
    ),
    "nobody": lambda user, drive: head(
        f"/drives/{drive}/read/0/1", User(uuid4(), user.key).authorization
    ),
    "HEAD": lambda user, drive: head(
        f"/drives/{drive}/read/0/1", user.authorization, method="HEAD"
    ),
    "no drive": lambda user, drive: head(f"/drives/{uuid4()}/read/0/1", user.authorization),
    "no uuid": lambda user, drive: head("/drives/x/read/0/1", user.authorization),
    "no number": lambda user, drive: head(f"/drives/{drive}/read/x/1", user.authorization),
    "below zero": lambda user, drive: head(f"/drives/{drive}/read/-1/1", user.authorization),
    "a query": lambda user, drive: head(f"/drives/{drive}/read/0/1?x", user.authorization),
    "more": lambda user, drive: head(f"/drives/{drive}/read/0/1/1", user.authorization),
    "below": lambda user, drive: head(f"/x/drives/{drive}/read/0/1", user.authorization),
    "writing": lambda user, drive: head(f"/drives/{drive}/write/0/1", user.authorization),
    "no ASCII": lambda user, drive: head(f"/drives/{drive}/read/0/\u00b9", user.authorization),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_such_read_is_left_to_the_application_though_the_drive_is_known(
    quiet_house, name
):
    asked = OTHERS[name](quiet_house.owner, quiet_house.drive)

    assert quiet_house.reading.answers(asked) is None


@pytest.mark.parametrize(("offset", "length"), [("0", "4k"), ("4096", "4K"), ("1k", "1")])
def test_sizes_are_read_as_everywhere_and_posts_as_gets(quiet_house, offset, length):
    start = {"0": 0, "4096": 4096, "1k": 1024}[offset]
    size = 1 if length == "1" else 4096

    for method in ("GET", "POST"):
        path = f"/drives/{quiet_house.drive}/read/{offset}/{length}"
        asked = head(path, quiet_house.owner.authorization, method=method)
        answer = quiet_house.reading.answers(asked)
        assert answer is not None
        assert answer.endswith(b"\r\n\r\n" + CONTENT[start : start + size])


def test_readers_and_callers_that_are_forgotten_are_found_again(quiet_house, monkeypatch):
    monkeypatch.setattr(now, "_CALLERS_MAX", 1)
    monkeypatch.setattr(now, "_READERS_MAX", 1)

    for user in (quiet_house.owner, quiet_house.reader) * 3:
        assert quiet_house.reading.now(user, quiet_house.drive, 5, 9) == CONTENT[5:14]


def test_a_stranger_does_not_get_what_is_remembered_for_another(house):
    with house.changing.ctx.catalog.write() as tx:
        row, key = accounts.add(tx, "stranger", drives=None, size_bytes=None)
    house.reading.warm(house.owner, house.drive)

    assert house.read(User(row.uuid, key)) is DriveNotFound
