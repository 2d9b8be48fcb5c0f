"""Drives' ciphers are made once, and only of the drive's own key."""

from dataclasses import replace
from uuid import uuid4

import pytest

from contract.rows import a_drive
from contract.stacks import SECTOR, pattern, writable
from drivebay.errors import DriveFaulted
from drivebay.keys import MasterKey
from drivebay.model import Drive
from drivebay.service import context
from drivebay.service.context import DataKeys
from drivebay.storage.crypt import sector_cipher

MASTER = MasterKey(bytes(range(32)))


def keyed() -> tuple[Drive, bytes]:
    """Return a drive with its data key."""
    drive = a_drive(uuid4())
    key, wrapped = MASTER.make_data_key(drive.uuid)
    return replace(drive, wrapped_key=wrapped), key


@pytest.fixture
def keys():
    return DataKeys(MASTER)


def test_a_drives_cipher_has_the_drives_key(keys):
    drive, key = keyed()
    data, expected = writable(pattern(SECTOR)), writable(pattern(SECTOR))

    keys.cipher_of(drive).encrypt(7, data)

    sector_cipher(key).encrypt(7, expected)
    assert data == expected != pattern(SECTOR)


def test_it_is_made_once(keys):
    one, other = keyed()[0], keyed()[0]

    made = keys.cipher_of(one)

    assert keys.cipher_of(other) is not made
    assert keys.cipher_of(one) is made


def test_a_drive_that_got_another_key_gets_another_cipher(keys):
    drive, _ = keyed()
    made = keys.cipher_of(drive)
    _, wrapped = MASTER.make_data_key(drive.uuid)

    assert keys.cipher_of(replace(drive, wrapped_key=wrapped)) is not made


def test_the_longest_unused_is_forgotten_first(keys, monkeypatch):
    monkeypatch.setattr(context, "_KEYS_KEPT", 2)
    first, second, third = (keyed()[0] for _ in range(3))
    made = [keys.cipher_of(first), keys.cipher_of(second), keys.cipher_of(first)]

    keys.cipher_of(third)

    assert keys.cipher_of(first) is made[0]
    assert keys.cipher_of(second) is not made[1]


def test_a_drive_without_a_key_is_faulted(keys):
    with pytest.raises(DriveFaulted, match="missing"):
        keys.cipher_of(a_drive(uuid4()))
