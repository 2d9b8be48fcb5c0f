"""kill -9 of the whole process tree at random moments of a mixed load."""

import os
import random
import sys
import threading
import time

import pytest

from faults.crash_load import OWNERS, Acknowledged, Imager, Owner

KILLS = 50
SECONDS = float(os.environ.get("DRIVEBAY_CRASH_SECONDS", "0"))
"""How long to go on, instead of fifty times: `make crash TIME=3600`."""


@pytest.mark.parametrize("seed", [20261124])
def test_nothing_acknowledged_is_lost_when_everything_is_killed(make_server, seed):
    server = make_server(workers=2)
    moments = random.Random(seed)
    acknowledged = Acknowledged()
    clients = [Owner(server, seed + index, acknowledged) for index in range(OWNERS)]
    clients.append(Imager(server, acknowledged))
    kills = 0
    began = time.monotonic()

    while (time.monotonic() - began < SECONDS) if SECONDS else (kills < KILLS):
        threads = [threading.Thread(target=client.work) for client in clients]
        for thread in threads:
            thread.start()
        is_alive = acknowledged.wait_for(moments.randint(1, 80))
        server.kill()
        for thread in threads:
            thread.join()
        kills += 1
        server.start()
        for client in clients:
            client.verify()
        assert is_alive, "the load came to a stop"

    sys.stderr.write(f"{kills} kills, {acknowledged.count} operations answered\n")
