"""A store that is full: 507, everything else goes on, and it works again when there is room."""

import gzip
import os
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from drivebay.units import KIB, MIB
from live import Server
from system.drives import content_of, imaged, info_of, made

ROOM_MIB = 12


@cache
def namespace() -> list[str]:
    """Return the command that runs another in a mount namespace of its own; empty without leave."""
    for words in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        if shutil.which("unshare") is None:
            break
        script = "mount -t tmpfs tmpfs /mnt"
        done = subprocess.run([*words, "sh", "-c", script], capture_output=True, check=False)
        if done.returncode == 0:
            return words
    return []


pytestmark = pytest.mark.skipif(not namespace(), reason="needs leave to mount a tmpfs")


@dataclass
class SmallServer(Server):
    """`drivebay serve` whose one store is a tmpfs of a few MiB that nobody else sees."""

    @property
    def store(self) -> Path:
        return self.base / "store"

    @property
    def command(self) -> list[str]:
        mount = f'mount -t tmpfs -o size={ROOM_MIB}m,mode=700 tmpfs "$0" && exec "$@"'
        return [*namespace(), "sh", "-c", mount, str(self.store), *super().command]

    def start(self) -> "SmallServer":
        self.store.mkdir(parents=True)
        config = self.base / "drivebay.toml"
        config.write_text(f'[[serve.stores]]\nname = "small"\npath = "{self.store}"\n')
        self.options = ["--config", str(config)]
        super().start()
        return self

    def volume(self, drive: str) -> Path:
        """Return the file of a drive, as it is reached from outside of the namespace."""
        return Path(f"/proc/{self.pid}/root{self.store}/{drive}.volume")


@pytest.fixture
def small(tmp_path):
    server = SmallServer(tmp_path / "small", workers=2)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def user(small):
    return small.add_user("owner")


@pytest.fixture(params=["none", "aes-xts-plain"])
def filled(small, user, request):
    """A drive that takes up all the room, and how much of its start was acknowledged."""
    drive = small.create(f"size 64M\nencryption:cipher {request.param}", user=user)
    content = os.urandom((ROOM_MIB + 1) * MIB)
    for offset in range(0, len(content), 256 * KIB):
        piece = content[offset : offset + 256 * KIB]
        answer = small.api("POST", f"/drives/{drive}/write/{offset}", piece, user=user)
        if answer.status != 204:
            break
    assert (answer.status, answer.headers["x-elastic-error"]) == (507, "full")
    assert answer.text == "store small is full\n"
    assert offset > MIB
    return drive, content[:offset]


def start_of(small, user, drive: str, length: int) -> bytes:
    parts = [
        small.api("GET", f"/drives/{drive}/read/{at}/256k", user=user).body
        for at in range(0, length, 256 * KIB)
    ]
    return b"".join(parts)


def test_a_full_store_loses_nothing_and_everything_else_goes_on(small, user, filled):
    drive, content = filled

    assert start_of(small, user, drive, len(content)) == content
    info = info_of(small, user, drive)
    assert info["status"] == "active"
    assert info["write:bytes"] == str(len(content))
    # What needs no more room works: over what is there, zeros, fields, sizes.
    over = os.urandom(256 * KIB)
    assert small.api("POST", f"/drives/{drive}/write", over, user=user).status == 204
    assert start_of(small, user, drive, 256 * KIB) == over
    renamed = small.api("POST", f"/drives/{drive}/set", "name full\nsize 80M", user=user)
    assert (renamed.status, renamed.record["size"]) == (200, str(80 * MIB))
    assert small.api("POST", f"/drives/{drive}/write", over[:4096], user=user).status == 204
    too_much = small.api("POST", f"/drives/{drive}/write/40M", os.urandom(MIB), user=user)
    assert too_much.status == 507


@pytest.mark.parametrize("way", ["destroy", "zeros", "shrink"])
def test_a_store_with_room_again_takes_writes_again(small, user, way):
    other = made(small, user, os.urandom(5 * MIB))
    drive = small.create("size 64M", user=user)
    body = os.urandom(8 * MIB)
    assert small.api("POST", f"/drives/{drive}/write", body, user=user).status == 507

    match way:
        case "destroy":
            answer = small.api("POST", f"/drives/{other}/destroy", user=user)
        case "zeros":
            answer = small.api("POST", f"/drives/{other}/write", bytes(5 * MIB), user=user)
        case "shrink":
            answer = small.api("POST", f"/drives/{other}/set", "size 1", user=user)
    assert answer.status in {200, 204}

    assert small.api("POST", f"/drives/{drive}/write", body, user=user).status == 204
    assert start_of(small, user, drive, 8 * MIB) == body


def test_a_long_write_that_fills_the_store_says_how_much_is_in_place(small, user):
    drive = small.create("size 64M", user=user)
    content = os.urandom(20 * MIB)
    for body, headers in (
        (content, {}),
        (gzip.compress(content, 1), {"Content-Encoding": "gzip"}),
    ):
        answer = small.api("POST", f"/drives/{drive}/write", body, user=user, headers=headers)

        assert (answer.status, answer.headers["x-elastic-error"]) == (507, "full")
        assert answer.text == "store small is full; 8388608 bytes from offset 0 are in place\n"
        assert start_of(small, user, drive, 8 * MIB) == content[: 8 * MIB]
    assert info_of(small, user, drive)["write:bytes"] == "0"


@pytest.mark.parametrize("conversion", ["", "/gzip", "/gunzip"])
def test_imaging_that_fills_the_store_fails_visibly_and_works_later(small, user, conversion):
    # What repeats packs well and is no zeros.
    content = os.urandom(16 * KIB) * 256 if conversion == "/gunzip" else os.urandom(3 * MIB)
    stored = gzip.compress(content, 1) if conversion == "/gunzip" else content
    source = made(small, user, stored)
    other = made(small, user, os.urandom((ROOM_MIB - 1) * MIB - len(stored)))
    copy = small.create("size 16M", user=user)

    info = imaged(small, user, copy, source, conversion)

    assert (info["imaging"], info["status"]) == ("failed", "inactive")
    assert info["imaging:error"] == "store small is full"
    assert "fault" not in info
    assert small.api("POST", f"/drives/{other}/destroy", user=user).status == 204
    assert imaged(small, user, copy, source, conversion)["status"] == "active"
    found = content_of(small, user, copy)
    if conversion == "/gzip":
        found = zlib.decompressobj(wbits=31).decompress(found)
    assert found[: len(content)] == content


def test_other_users_of_a_full_store_read_on(small, user):
    other = small.add_user("other")
    theirs = made(small, other, b"theirs")
    drive = small.create("size 64M", user=user)
    assert (
        small.api("POST", f"/drives/{drive}/write", os.urandom(16 * MIB), user=user).status == 507
    )

    assert content_of(small, other, theirs) == b"theirs"
    assert small.api("POST", f"/drives/{theirs}/write", b"Theirs", user=other).status == 204
    assert small.api("GET", "/drives/list", user=other).text == f"{theirs}\n"
