"""Histories of a running service are linearizable: HTTP, NBD and imaging on the same drives."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from random import Random
from uuid import uuid4

import pytest

from drivebay.units import MIB
from linear.content import Layout
from linear.history import Operation, Outcome
from linear.recorders import HttpClient, NbdClient, Record, apart, at_once
from linear.window import offending_window
from live import Server
from nbd.claimed import Claimed
from nbd.client import hang_up
from system.waiting import wait_until

pytestmark = pytest.mark.live

SECONDS = float(os.environ.get("DRIVEBAY_LINEAR_SECONDS", "0"))
"""How long all tests here go on together; each records one history at least."""

TESTS = 4
OPERATIONS_MIN = 2000
SIZE = 8 * MIB

RANGES_OF_4_MIB = Layout(
    {
        (0, 1024): 3,
        (1024, 1024): 1,
        (0, 1): 4,
        (1, 1): 2,
        (511, 2): 3,
        (1023, 1): 4,
        (1020, 8): 4,
        (1024, 16): 3,
    }
)

SHORT_RANGES = Layout(
    {(0, 1): 4, (0, 16): 4, (15, 1): 4, (15, 2): 2, (8, 200): 2, (100, 1): 2, (200, 8): 2}
)

# Not one of them begins where a sector does, and some lie in two.
PIECES_OF_SECTORS = Layout(
    {**{(at, 1): 2 for at in range(16)}, (0, 16): 4, (5, 4): 4, (7, 1): 6}, unit=512, base=77
)


class Bay:
    """A running service and the drives of one of its users."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.user = server.add_user()

    def drive(self) -> str:
        return self.server.create(f"size {SIZE}\nclaim:type shared", user=self.user)

    def claim(self, drive: str) -> Claimed:
        """Claim a drive for a server that nobody has heard of before."""
        return Claimed(self.server, self.user, drive, str(uuid4())).claim()

    def http(self, record: Record, drive: str, random: Random, count: int) -> partial[None]:
        client = HttpClient(record, self.server, self.user, drive)
        return partial(client.run, Random(random.random()), count)


@pytest.fixture
def bay(make_server) -> Iterator[Bay]:
    yield Bay(make_server(options=["--nbd-workers", "2"]))
    hang_up()


def rounds() -> Iterator[Random]:
    """Yield dice for one history, and for more until the time is over."""
    end = time.monotonic() + SECONDS / TESTS
    number = 0
    while not number or time.monotonic() < end:
        yield Random(number)
        number += 1


def nbd_clients(
    record: Record, claims: list[Claimed], random: Random, count: int, **how: bool
) -> list[partial[None]]:
    """Two connections for each claim: one request at a time, and several."""
    clients = [
        NbdClient(record, claim, depth, f"nbd-{number}-{depth}", structured=depth == 1, **how)
        for number, claim in enumerate(claims)
        for depth in (1, 6)
    ]
    return [partial(each.connect().run, Random(random.random()), count) for each in clients]


def judge(operations: list[Operation]) -> None:
    assert sum(one.outcome is Outcome.OK for one in operations) >= OPERATIONS_MIN
    if (window := offending_window(operations)) is not None:
        pytest.fail(str(window), pytrace=False)


def test_servers_and_http_clients_of_a_shared_drive_see_one_history(bay):
    """Between two phases of it the drive is imaged onto another one and from a third."""
    for random in rounds():
        record = Record(RANGES_OF_4_MIB)
        drive, copied, source = bay.drive(), bay.drive(), bay.drive()

        def use(drive=drive, random=random, record=record) -> None:
            claims = [bay.claim(drive) for _ in range(3)]
            others = [bay.http(record, drive, random, 90) for _ in range(3)]
            with at_once([*nbd_clients(record, claims, random, 125), *others]):
                pass
            for claim in claims:
                claim.release()

        use()
        with at_once([bay.http(record, one, random, 40) for one in (drive, copied, source)]):
            record.imaged(bay.server, bay.user, copied, drive)
        with at_once([bay.http(record, one, random, 40) for one in (drive, copied, source)]):
            record.imaged(bay.server, bay.user, drive, source)
        use()

        judge(record.operations)


def test_of_writes_into_one_sector_none_is_lost(bay):
    for random in rounds():
        record = Record(PIECES_OF_SECTORS)
        drive = bay.drive()
        claims = [bay.claim(drive) for _ in range(3)]
        others = [bay.http(record, drive, random, 400) for _ in range(2)]

        with at_once([*nbd_clients(record, claims, random, 1000), *others]):
            pass

        judge(record.operations)


def test_what_a_killed_process_was_at_happens_by_its_end_or_never(bay):
    for random in rounds():
        record = Record(SHORT_RANGES)
        drive = bay.drive()
        claims = [bay.claim(drive) for _ in range(3)]
        clients = nbd_clients(record, claims, random, 500, comes_back=True)
        others = [bay.http(record, drive, random, 150) for _ in range(2)]

        with at_once([*clients, *others]):
            for kill in range(1, 9):
                record.wait_for(kill * 250)
                kill_one(bay.server, random.choice(["nbd-0", "nbd-1"]))

        assert any(one.outcome is Outcome.UNKNOWN for one in record.operations)
        judge(apart(record.operations))


def kill_one(server: Server, name: str) -> None:
    def pid() -> int:
        try:
            return server.pid_of(name)
        except (ValueError, FileNotFoundError):
            return 0  # It is being started again.

    os.kill(wait_until(pid), 9)


def test_nothing_of_a_stopped_process_happens_after_its_claim_was_renewed(bay):
    for random in rounds():
        record = Record(SHORT_RANGES)
        claimed = bay.claim(bay.drive())
        old = on_both(bay.server, record, replace(claimed), random)
        beside = nbd_clients(record, [bay.claim(claimed.drive)], random, 600)
        others = [bay.http(record, claimed.drive, random, 300) for _ in range(2)]

        with at_once([*old, *beside, *others]):
            record.wait_for(600)
            with bay.server.stopped("nbd-0"):
                claimed.claim()
                renewed = time.monotonic_ns()
            with at_once(nbd_clients(record, [claimed], random, 200)):
                pass

        done = record.operations
        ended = [bounded(one, renewed) if "old" in one.client else one for one in done]
        assert any(one.outcome is Outcome.UNKNOWN for one in ended)
        judge(apart(ended))


def on_both(
    server: Server, record: Record, claimed: Claimed, random: Random
) -> list[partial[None]]:
    """Clients without end, with two connections to each process."""
    works = []
    for name, other in [("nbd-0", "nbd-1"), ("nbd-1", "nbd-0")]:
        with server.stopped(other):
            clients = [NbdClient(record, claimed, 8, f"old-{name}").connect() for _ in range(2)]
        works += [partial(each.run, Random(random.random()), 1_000_000) for each in clients]
    return works


def bounded(operation: Operation, moment: int) -> Operation:
    """Return what it was if nothing of it could happen after a moment."""
    if operation.outcome is Outcome.OK:
        assert operation.invoked <= moment
        return replace(operation, returned=min(operation.returned, moment))
    if operation.invoked > moment:
        return replace(operation, outcome=Outcome.FAILED, returned=operation.invoked)
    return replace(operation, returned=moment)
