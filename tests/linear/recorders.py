"""Clients of a running service that write down what they did, and when."""

import http.client
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from time import monotonic_ns
from typing import Any

from linear.content import Layout
from linear.history import Kind, Operation, Outcome
from live import Server, authorization
from nbd.claimed import Claimed
from nbd.client import FLUSHING, FUA, NO_HOLE, Client, Closed, Reply, Request, read, write, zeroes
from system import drives
from system.waiting import wait_until

_KINDS = {Kind.READ: 10, Kind.WRITE: 7, Kind.ZERO: 1}


@dataclass
class Record:
    """What all clients together have done; they add to it from their threads."""

    layout: Layout
    operations: list[Operation] = field(default_factory=list)
    _tags: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def begin(self, random: Random, drive: str, client: str) -> Operation:
        """Choose what to do next; its call is now, and its answer is not there yet."""
        (kind,) = random.choices(list(_KINDS), list(_KINDS.values()))
        first, count = self.layout.choose(random)
        return Operation(
            kind=kind,
            drive=drive,
            first=first,
            count=count,
            invoked=monotonic_ns(),
            outcome=Outcome.UNKNOWN,
            tag=next(self._tags) if kind is Kind.WRITE else None,
            client=client,
        )

    def answered(self, operation: Operation, data: bytes | bytearray = b"") -> None:
        """Note that it was done; *data* is what a read returned."""
        now = monotonic_ns()
        is_read = operation.kind is Kind.READ
        seen = self.layout.tags(data, operation.first) if is_read else ()
        self._add(replace(operation, returned=now, outcome=Outcome.OK, seen=seen))

    def failed(self, operation: Operation) -> None:
        """Note that it was refused, and did nothing."""
        self._add(replace(operation, returned=monotonic_ns(), outcome=Outcome.FAILED))

    def unanswered(self, operation: Operation, until: float = inf) -> None:
        """Note that nobody knows whether it was done, or will be *until* then."""
        self._add(replace(operation, returned=until))

    def wait_for(self, count: int) -> None:
        """Wait until that many operations are noted."""
        wait_until(lambda: len(self.operations) >= count)

    def _add(self, operation: Operation) -> None:
        self.operations.append(operation)

    def imaged(self, server: Server, user: tuple[str, str], to: str, source: str) -> None:
        """Image a drive and note it; both have as many units as the layout's ranges need."""
        invoked = monotonic_ns()
        info = drives.imaged(server, user, to, source)
        assert "imaging" not in info, info
        self._add(
            Operation(
                kind=Kind.IMAGE,
                drive=to,
                source=source,
                first=0,
                count=max(first + count for first, count in self.layout.ranges),
                invoked=invoked,
                returned=monotonic_ns(),
                client="imaging",
            )
        )


class HttpClient:
    """Reads and writes over one connection that is kept, one request at a time."""

    def __init__(self, record: Record, server: Server, user: tuple[str, str], drive: str) -> None:
        self.name = f"http-{drive[:4]}-{len(record.operations)}"
        self._record = record
        self._drive = drive
        self._headers = {"Authorization": authorization(user)}
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=120)

    def run(self, random: Random, count: int) -> None:
        try:
            for _ in range(count):
                self._do(self._record.begin(random, self._drive, self.name))
        finally:
            self._connection.close()

    def _do(self, operation: Operation) -> None:
        layout = self._record.layout
        offset, length = layout.place(operation.first, operation.count)
        match operation.kind:
            case Kind.READ:
                status, data = self._call("GET", f"read/{offset}/{length}")
            case Kind.WRITE:
                assert isinstance(operation.tag, int)
                body = layout.content(operation.tag, operation.first, operation.count)
                # The moment of the call is as late as may be, so that the history says more.
                operation = replace(operation, invoked=monotonic_ns())
                status, data = self._call("POST", f"write/{offset}", body)
            case _:
                status, data = self._call("POST", f"write/{offset}", bytes(length))
        if status == 409:
            self._record.failed(operation)
            return
        assert status == (200 if operation.kind is Kind.READ else 204), (status, data)
        self._record.answered(operation, data)

    def _call(self, method: str, call: str, body: bytes = b"") -> tuple[int, bytes]:
        path = f"/drives/{self._drive}/{call}"
        self._connection.request(method, path, body, self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()


@dataclass
class NbdClient:
    """Reads, writes, zeroes and flushes over one connection, up to *depth* requests at a time."""

    record: Record
    claimed: Claimed
    depth: int
    name: str
    structured: bool = True
    comes_back: bool = False
    """Whether it connects again when the connection is closed; each time its server is dead then.

    Otherwise it ends, and what was not answered is left in doubt for ever.
    """

    connection: Client | None = None

    def __post_init__(self) -> None:
        self._under_way: dict[int, Operation | None] = {}

    def connect(self) -> "NbdClient":
        self.connection = wait_until(self._connected)
        return self

    def _connected(self) -> Client | None:
        try:
            return self.claimed.open(structured=self.structured)
        except Closed:
            return None  # Its process was killed just now.

    def run(self, random: Random, count: int) -> None:
        left = count
        while left or self._under_way:
            try:
                left -= self._send(random, min(left, self.depth - len(self._under_way)))
                self._receive()
            except Closed:
                self._lose()
                if not self.comes_back:
                    return
                self.connect()
        self._open.close()

    @property
    def _open(self) -> Client:
        if self.connection is None:
            self.connect()
        assert self.connection is not None
        return self.connection

    def _send(self, random: Random, room: int) -> int:
        """Send some requests in one go, and return how many."""
        if room < 1:
            return 0
        connection = self._open
        chosen = [self._choose(random) for _ in range(random.randint(1, room))]
        data, cookies = connection.queue(*(request for _, request in chosen))
        now = monotonic_ns()
        for cookie, (operation, _) in zip(cookies, chosen, strict=True):
            self._under_way[cookie] = operation and replace(operation, invoked=now)
        connection.pump(data)
        return len(chosen)

    def _choose(self, random: Random) -> tuple[Operation | None, Request]:
        if random.random() < 0.05:
            return None, FLUSHING
        layout = self.record.layout
        operation = self.record.begin(random, self.claimed.drive, self.name)
        offset, length = layout.place(operation.first, operation.count)
        fua = FUA if random.random() < 0.2 else 0
        match operation.kind:
            case Kind.READ:
                return operation, read(offset, length)
            case Kind.WRITE:
                assert isinstance(operation.tag, int)
                content = layout.content(operation.tag, operation.first, operation.count)
                return operation, write(offset, content, fua)
        return operation, zeroes(offset, length, fua | random.choice([0, NO_HOLE]))

    def _receive(self) -> None:
        cookie, reply = self._open.reply()
        self._note(self._under_way.pop(cookie), reply)

    def _note(self, operation: Operation | None, reply: Reply) -> None:
        if reply.error:
            # A claim that has ended; a write with FUA may have been done before that was seen.
            assert reply.error == 108, reply
            assert not self.comes_back
            if operation is not None:
                self.record.unanswered(operation)
        elif operation is not None:
            self.record.answered(operation, reply.data)

    def _lose(self) -> None:
        # The connection ends after the last thread of its process, and so after all that it did.
        until = monotonic_ns() if self.comes_back else inf
        for operation in self._under_way.values():
            if operation is not None:
                self.record.unanswered(operation, until)
        self._under_way.clear()


Work = Callable[[], None]


@contextmanager
def at_once(works: Iterable[Work]) -> Iterator[None]:
    """Do all of *works* in threads beside the block; on leaving wait for their end."""
    failures: list[BaseException] = []

    def guarded(work: Work) -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001 - it is raised again in the test's thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(120)
        if failures:
            raise failures[0]
    assert not any(thread.is_alive() for thread in threads), "a client hangs"


def apart(operations: Iterable[Operation]) -> list[Operation]:
    """Let each unit of what was not answered stand for itself.

    A write of a process that was killed in the middle of it may be there in part.  Units that every
    other operation treats alike stay together, which comes to the same and is judged sooner.
    """
    known = [one for one in operations if one.outcome is not Outcome.UNKNOWN]
    doubtful = [one for one in operations if one.outcome is Outcome.UNKNOWN]
    cuts = {(one.drive, edge) for one in operations for edge in (one.first, one.end)}
    for one in known:
        changes = range(1, len(one.seen))
        cuts |= {(one.drive, one.first + at) for at in changes if one.seen[at] != one.seen[at - 1]}
    return known + [piece for one in doubtful for piece in _pieces(one, cuts)]


def _pieces(operation: Operation, cuts: set[tuple[str, int]]) -> Iterator[Operation]:
    inside = range(operation.first + 1, operation.end)
    edges = [at for at in inside if (operation.drive, at) in cuts]
    for first, end in itertools.pairwise([operation.first, *edges, operation.end]):
        parts: dict[str, Any] = {"first": first, "count": end - first}
        yield replace(operation, **parts)
