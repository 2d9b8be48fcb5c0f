"""Changing a drive's size over the live service: nothing cut off ever comes back."""

import os

import pytest

from drivebay.units import MIB
from system.drives import content_of, info_of, made

# Over the edges of sectors and not, down and up, and back to where it was.
WAYS = [
    [3 * MIB],
    [1, 2 * MIB],
    [4095, 4096, 4097],
    [MIB + 4096, MIB, MIB + 4095],
    [MIB + 5, MIB + 7, MIB + 6, MIB + 4096],
    [MIB - 1, MIB - 2, MIB - 1, 5 * MIB + 3],
]


@pytest.mark.parametrize("restart", [False, True], ids=["running", "killed"])
@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
def test_grown_space_reads_zeros_however_it_came_about(make_server, cipher, restart):
    server = make_server(workers=1)
    user = server.add_user("owner")
    for way in WAYS:
        content = os.urandom(MIB + 4097)
        drive = made(server, user, content, text=f"encryption:cipher {cipher}")

        for size in way:
            answer = server.api("POST", f"/drives/{drive}/set", f"size {size}", user=user)
            assert (answer.status, answer.record["size"]) == (200, str(size))
            content = content[:size].ljust(size, b"\0")
            if restart and way is WAYS[-1]:
                server.kill()
                server.start()
            assert content_of(server, user, drive) == content, (way, size)

        # The new end is an end like any other.
        last = way[-1] - 1
        assert server.api("POST", f"/drives/{drive}/write/{last}", b"x", user=user).status == 204
        assert server.api("POST", f"/drives/{drive}/write/{last}", b"xx", user=user).status == 507
        assert content_of(server, user, drive) == content[:-1] + b"x"


@pytest.mark.parametrize("cipher", ["none", "aes-xts-plain"])
def test_a_smaller_drive_gives_its_room_back(server, owner, cipher):
    drive = made(server, owner, os.urandom(8 * MIB), text=f"encryption:cipher {cipher}")
    volume = server.data / "stores/default" / f"{drive}.volume"

    server.api("POST", f"/drives/{drive}/set", "size 1M", user=owner)

    assert volume.stat().st_size == MIB
    assert volume.stat().st_blocks * 512 <= MIB + 8192


def test_a_size_that_is_the_present_one_changes_nothing_and_is_never_busy(server, owner):
    drive, copy = made(server, owner, os.urandom(MIB)), server.create("size 1M", user=owner)
    assert server.api("POST", f"/drives/{copy}/image/{drive}", user=owner).status == 204

    answers = [
        server.api("POST", f"/drives/{one}/set", "size 1M\nuser:uploaded 9", user=owner)
        for one in (drive, copy)
    ]

    assert [answer.status for answer in answers] == [200, 200]
    assert info_of(server, owner, drive)["user:uploaded"] == "9"
