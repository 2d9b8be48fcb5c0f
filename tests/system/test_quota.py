"""Quotas hold however many ask at once."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

CREATES = 1000
AT_ONCE = 100


@pytest.mark.parametrize(
    ("quota", "text"),
    [({"drives": 20}, "size 1"), ({"size_bytes": 20 * 4096 + 4095}, "size 4k")],
    ids=["drives", "bytes"],
)
def test_a_thousand_parallel_creates_never_pass_a_quota(server, quota, text):
    user = server.add_user(**quota)
    together = threading.Barrier(AT_ONCE)

    def create(number: int):
        if number < AT_ONCE:
            together.wait(60)
        return server.api("POST", "/drives/create", text, user=user)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(create, range(CREATES)))

    assert Counter(answer.status for answer in answers) == {200: 20, 402: CREATES - 20}
    refused = [answer for answer in answers if answer.status == 402]
    assert {answer.headers["x-elastic-error"] for answer in refused} == {"billing"}
    assert len(server.api("GET", "/drives/list", user=user).text.split()) == 20


def test_growing_a_drive_past_the_quota_is_402_and_changes_nothing(server):
    user = server.add_user(size_bytes=2 * 1024 * 1024)
    drive = server.create("size 1M", user=user)

    answer = server.api("POST", f"/drives/{drive}/set", "size 3M\nname grown", user=user)

    assert (answer.status, answer.headers["x-elastic-error"]) == (402, "billing")
    record = server.api("GET", f"/drives/{drive}/info", user=user).record
    assert record["size"] == "1048576"
    assert record["name"] != "grown"


def test_destroying_a_drive_gives_its_quota_back(server):
    user = server.add_user(drives=1)
    drive = server.create(user=user)
    assert server.api("POST", "/drives/create", "size 1", user=user).status == 402

    assert server.api("POST", f"/drives/{drive}/destroy", user=user).status == 204

    assert server.api("POST", "/drives/create", "size 1", user=user).status == 200


def test_shrinking_is_allowed_past_a_quota_that_was_lowered(server):
    user = server.add_user(size_bytes=2 * 1024 * 1024)
    drive = server.create("size 2M", user=user)
    server.run("user", "quota", user[0], "--bytes", "1k")

    answer = server.api("POST", f"/drives/{drive}/set", "size 1M", user=user)

    assert answer.status == 200
    assert answer.record["size"] == "1048576"
