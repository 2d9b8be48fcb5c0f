"""What lies in the data folder: ciphertext that means something, and nothing in plain."""

import base64
import gzip
import random
import sqlite3
from pathlib import Path

import pytest

from drivebay.storage import crypt
from drivebay.units import KIB, MIB
from system.at_rest import SECTOR, data_key, decrypted, wrapped_key
from system.drives import content_of, imaged, made

NOISE = random.Random(1619)
CANARY = b"canary-of-the-plain-text:" + NOISE.randbytes(8).hex().encode()


@pytest.fixture
def apart(make_server):
    """A service of the test's own, so that its data folder holds nothing of others."""
    return make_server(workers=2)


def volume_of(server, drive: str) -> Path:
    return server.data / "stores/default" / f"{drive}.volume"


def key_of(server, drive: str) -> bytes:
    master_key = server.base / "config/drivebay/master.key"
    return data_key(master_key, wrapped_key(server.data / "catalog.sqlite", drive), drive)


def files_with(folder: Path, *needles: bytes) -> list[str]:
    """Return the files that hold one of *needles*, in whatever form it is usually written."""
    forms = {
        form
        for needle in needles
        for form in (needle, needle.hex().encode(), base64.b64encode(needle)[:-4])
    }
    return [
        str(file.relative_to(folder))
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        for content in [file.read_bytes()]
        if any(form in content for form in forms)
    ]


def test_the_ciphertext_is_what_was_written_under_an_independent_xts(server, owner):
    content = bytearray(NOISE.randbytes(2 * MIB + 777))
    content[100 * KIB : 300 * KIB] = bytes(200 * KIB)
    drive = made(server, owner, bytes(content))
    # Over the edges of sectors, and packed.
    for offset, length in ((4090, 20), (SECTOR * 9, SECTOR), (MIB - 1, 70 * KIB), (5, 1)):
        more = NOISE.randbytes(length)
        content[offset : offset + length] = more
        answer = server.api(
            "POST",
            f"/drives/{drive}/write/{offset}",
            gzip.compress(more),
            user=owner,
            headers={"Content-Encoding": "gzip"},
        )
        assert answer.status == 204

    stored = volume_of(server, drive).read_bytes()

    size = -(-len(content) // SECTOR) * SECTOR
    assert len(stored) == size
    assert decrypted(key_of(server, drive), stored) == content.ljust(size, b"\0")
    plain = [content[at : at + 16] for at in range(0, 64 * KIB, 16)]
    assert not any(block in stored for block in plain)


@pytest.mark.parametrize("cipher", [crypt.PortableCipher, crypt.sector_cipher])
@pytest.mark.parametrize("first", [2**32 - 1, 2**32, 2**51 - 2])
def test_the_sector_number_counts_past_32_bits(cipher, first):
    """The counter of `aes-xts-plain`, taken literally, would come round at 16 TiB."""
    key, content = NOISE.randbytes(64), NOISE.randbytes(2 * SECTOR)

    stored = bytearray(content)
    cipher(key).encrypt(first, memoryview(stored))

    assert decrypted(key, stored, first=first) == content


@pytest.mark.parametrize("ending", ["running", "stop", "kill"])
def test_nothing_that_was_written_is_found_in_plain(apart, ending):
    user = apart.add_user("owner")
    content = (CANARY * 50_000)[:MIB]
    drive = made(apart, user, content)
    for name in ("packed", "copy", "unpacked"):
        server_side = apart.create(f"name {name}\nsize 2M", user=user)
        if name == "packed":
            imaged(apart, user, server_side, drive, "/gzip")
            packed = server_side
        else:
            source, conversion = (drive, "") if name == "copy" else (packed, "/gunzip")
            imaged(apart, user, server_side, source, conversion)
            assert content_of(apart, user, server_side)[:MIB] == content
    header = {"Content-Encoding": "gzip"}
    body = gzip.compress(CANARY, 0)
    path = f"/drives/{drive}/write/{MIB - 100}"
    assert apart.api("POST", path, body, user=user, headers=header).status == 204
    api_key = user[1].encode()
    keys = key_of(apart, drive)
    master_key = (apart.base / "config/drivebay/master.key").read_text().split()[1]
    if ending != "running":
        getattr(apart, ending)()

    secrets = [CANARY, api_key, keys[:32], keys[32:], bytes.fromhex(master_key)]
    for secret in secrets:
        assert files_with(apart.data, secret) == []


def test_without_a_cipher_it_is_found_so_the_search_can_find_it(apart):
    drive = made(apart, apart.first, CANARY, text="encryption:cipher none")

    assert files_with(apart.data, CANARY) == [f"stores/default/{drive}.volume"]


def test_a_name_is_found_so_the_catalog_is_searched(apart):
    apart.create(f"size 1\nname {CANARY.decode()}")

    assert files_with(apart.data, CANARY) == ["catalog.sqlite"]


@pytest.mark.parametrize("neighbours", [0, 40])
def test_after_a_destroy_its_wrapped_key_is_nowhere(apart, neighbours):
    """With many neighbours the row lies in a page that stays in use, else in one that is freed."""
    user = apart.add_user("owner")
    drives = [made(apart, user, CANARY) for _ in range(neighbours + 1)]
    drive = drives[neighbours // 2]
    wrapped = wrapped_key(apart.data / "catalog.sqlite", drive)
    assert files_with(apart.data, wrapped) == ["catalog.sqlite"]

    assert apart.api("POST", f"/drives/{drive}/destroy", user=user).status == 204

    assert files_with(apart.data, wrapped, wrapped[12:44]) == []
    apart.stop()
    assert files_with(apart.data, wrapped, wrapped[12:44]) == []
    assert not list(apart.data.rglob(f"*{drive}*"))


def test_the_wrapped_key_of_one_drive_opens_no_other(apart):
    user = apart.add_user("owner")
    one, two = made(apart, user, b"one"), made(apart, user, b"two")
    apart.stop()
    with sqlite3.connect(apart.data / "catalog.sqlite") as database:
        swap = "UPDATE drives SET wrapped_key = ? WHERE uuid = ?"
        stolen = wrapped_key(apart.data / "catalog.sqlite", one)
        database.execute(swap, [stolen, two])
    database.close()
    apart.start()

    answer = apart.api("GET", f"/drives/{two}/read/0/3", user=user)

    assert (answer.status, answer.headers["x-elastic-error"]) == (500, "failed")
    assert apart.api("GET", f"/drives/{one}/read/0/3", user=user).body == b"one"
