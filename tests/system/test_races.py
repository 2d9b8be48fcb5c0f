"""Changes that meet: each that was answered stays, whatever ran beside it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivebay.units import KIB, MIB
from system.waiting import wait_until


def until(stopped: threading.Event, action: Callable[[int], None]) -> None:
    """Do *action* again and again, each time with the next number."""
    turn = 0
    while not stopped.is_set():
        turn += 1
        action(turn)


def test_what_is_set_beside_a_change_of_size_is_not_lost(server, owner):
    drive = server.create("size 1M", user=owner)
    stopped = threading.Event()

    def set_fields(text: str) -> dict[str, str]:
        answer = server.api("POST", f"/drives/{drive}/set", text, user=owner)
        assert answer.status == 200, answer
        return answer.record

    with ThreadPoolExecutor() as pool:
        sizes = pool.submit(until, stopped, lambda turn: set_fields(f"size {MIB + turn % 3}"))
        try:
            for turn in range(100):
                set_fields(f"user:turn {turn}\nname n{turn}")
                record = server.api("GET", f"/drives/{drive}/info", user=owner).record
                assert (record["user:turn"], record["name"]) == (str(turn), f"n{turn}")
        finally:
            stopped.set()
        sizes.result()


def test_a_write_beside_changes_of_size_is_whole_or_refused(server, owner):
    """The size goes up and down over the end of what is written."""
    drive = server.create("size 64k", user=owner)
    stopped = threading.Event()

    def resize(turn: int) -> None:
        size = 64 * KIB if turn % 2 else 63 * KIB + 5
        answer = server.api("POST", f"/drives/{drive}/set", f"size {size}", user=owner)
        assert answer.status == 200, answer

    with ThreadPoolExecutor() as pool:
        sizes = pool.submit(until, stopped, resize)
        statuses = set()
        try:
            for turn in range(100):
                data = bytes([turn % 255 + 1]) * (64 * KIB)
                answer = server.api("POST", f"/drives/{drive}/write", data, user=owner)
                statuses.add(answer.status)
                seen = server.api("GET", f"/drives/{drive}/read/0/63k", user=owner).body
                if answer.status == 204:
                    assert seen == data[: 63 * KIB]
        finally:
            stopped.set()
        sizes.result()

    assert statuses <= {204, 507}
    # What a smaller size cut off must not come back.
    server.api("POST", f"/drives/{drive}/set", f"size {63 * KIB + 5}", user=owner)
    server.api("POST", f"/drives/{drive}/set", "size 64k", user=owner)
    rest = server.api("GET", f"/drives/{drive}/read/{63 * KIB + 5}/{KIB - 5}", user=owner).body
    assert rest == bytes(KIB - 5)


@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
def test_overlapping_writes_take_effect_one_after_the_other(server, owner, cipher):
    """Writers fill the whole range, each time with another byte, and no read sees two of them."""
    drive = server.create(f"size 3M\nencryption:cipher {cipher}", user=owner)
    offset, length = 1000, 2 * MIB + 777
    stopped = threading.Event()
    seen = set()

    def write(turn: int) -> None:
        data = bytes([turn % 255 + 1]) * length
        answer = server.api("POST", f"/drives/{drive}/write/{offset}", data, user=owner)
        assert answer.status == 204, answer

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(until, stopped, write) for _ in range(3)]

        def look() -> bool:
            path = f"/drives/{drive}/read/{offset}/{length}"
            found = set(server.api("GET", path, user=owner).body)
            assert len(found) == 1, "a read saw parts of two writes"
            seen.update(found)
            return len(seen) > 2

        try:
            for _ in range(60):
                look()
            wait_until(look)
        finally:
            stopped.set()
        for writer in writers:
            writer.result()


@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
def test_neighbours_in_one_sector_do_not_undo_each_other(server, owner, cipher):
    """Writes that share no byte but a sector, as an encrypted drive ciphers it."""
    drive = server.create(f"size 64k\nencryption:cipher {cipher}", user=owner)

    def write(place: int) -> None:
        for turn in range(40):
            data = bytes([turn]) * 1000
            path = f"/drives/{drive}/write/{place * 1000}"
            assert server.api("POST", path, data, user=owner).status == 204
            assert (
                server.api("GET", path.replace("write", "read") + "/1000", user=owner).body == data
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    assert server.api("GET", f"/drives/{drive}/read/0/8000", user=owner).body == bytes([39]) * 8000


def test_of_many_who_destroy_a_drive_one_does(server, owner):
    drive = server.create("size 1M", user=owner)
    together = threading.Barrier(8)

    def destroy(_: int) -> int:
        together.wait(60)
        return server.api("POST", f"/drives/{drive}/destroy", user=owner).status

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(destroy, range(8)))

    assert statuses == [204, *[404] * 7]


def test_two_drives_imaged_from_each_other_at_once_do_not_block_each_other(server, owner):
    one, two = server.create("size 1M", user=owner), server.create("size 1M", user=owner)

    for _ in range(10):
        with ThreadPoolExecutor(2) as pool:
            statuses = list(
                pool.map(
                    lambda pair: (
                        server.api("POST", f"/drives/{pair[0]}/image/{pair[1]}", user=owner).status
                    ),
                    [(one, two), (two, one)],
                )
            )
        assert sorted(statuses) in ([204, 204], [204, 409])
        wait_until(lambda: "imaging" not in server.api("GET", "/drives/info", user=owner).text)
