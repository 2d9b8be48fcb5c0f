"""kill -9 of the whole process tree at random moments of a mixed load."""

import faulthandler
import os
import random
import sys
import threading
import time

import pytest

from faults.imager import Canceller, Imager
from faults.load import Acknowledged, Client
from faults.operators import Operators
from faults.owner import Owner
from faults.stripes import Stripes
from faults.victim import Victim

KILLS = 50
SECONDS = float(os.environ.get("DRIVEBAY_CRASH_SECONDS", "0"))
"""How long to go on, instead of fifty times: `make crash TIME=3600`."""

SEED = int(os.environ.get("DRIVEBAY_CRASH_SEED", "20261124"))
"""What decides about the load and the moments; a run's threads still meet as they like."""

ACKNOWLEDGED_MAX = 120


@pytest.fixture
def victim(tmp_path):
    server = Victim(tmp_path / "victim", workers=2)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def operators(victim):
    running = Operators(victim)
    yield running
    running.close()


def load_until_killed(
    victim: Victim,
    operators: Operators,
    clients: list[Client],
    acknowledged: Acknowledged,
    choice: random.Random,
) -> None:
    """Let everybody work, and kill the service at some moment."""
    threads = [
        threading.Thread(target=client.work, args=(step,))
        for client in clients
        for step in client.steps()
    ]
    operators.begin()
    for thread in threads:
        thread.start()
    is_alive = acknowledged.wait_for(choice.randint(1, ACKNOWLEDGED_MAX))
    if choice.random() < 0.2:
        victim.kill_one(choice)
        acknowledged.wait_for(choice.randint(1, 5))
    way = choice.choices([victim.kill, victim.kill_parent, victim.stop], [8, 1, 1])[0]
    way()
    operators.kill()
    for thread in threads:
        thread.join()
    assert is_alive, "the load came to a stop"


def test_nothing_acknowledged_is_lost_when_everything_is_killed(victim, operators):
    if SECONDS:
        # pytest's guard against a hang is for tests of ordinary length.
        faulthandler.cancel_dump_traceback_later()
    choice = random.Random(SEED)
    acknowledged = Acknowledged()
    clients = [
        client(victim, f"{client.__name__} {number}", SEED, acknowledged)
        for client, count in ((Owner, 2), (Stripes, 1), (Imager, 1), (Canceller, 1))
        for number in range(count)
    ]
    kills = 0
    began = time.monotonic()

    while (time.monotonic() - began < SECONDS) if SECONDS else (kills < KILLS):
        load_until_killed(victim, operators, clients, acknowledged, choice)
        kills += 1
        if choice.random() < 0.15:
            victim.kill_while_starting(choice.uniform(0.2, 1.0))
            kills += 1
        victim.restart()
        assert [error for client in clients for error in client.errors] == []
        for client in clients:
            client.verify()
        operators.verify()

    sys.stderr.write(
        f"{kills} kills, {acknowledged.count} operations answered, {operators.done} by operators\n"
    )
