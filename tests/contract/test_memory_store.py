"""The store in memory and its volumes keep the contract."""

from uuid import uuid4

import pytest

from contract.lock_contract import LockContract
from contract.stacks import SECTOR, Stack, pattern, read, writable
from contract.store_contract import StoreContract
from contract.volume_contract import VolumeContract
from drivebay.errors import StoreFull
from drivebay.storage.memory import MemoryStore


@pytest.fixture
def store():
    return MemoryStore("kept-here", "shelf-1")


@pytest.fixture
def stack(store: MemoryStore):
    return Stack(store)


class TestMemoryStore(StoreContract):
    pass


class TestMemoryVolume(VolumeContract):
    pass


class TestMemoryVolumeLocks(LockContract):
    pass


class TestCapacity:
    def test_a_full_store_takes_no_more_and_keeps_what_it_has(self):
        store = MemoryStore("small", "shelf-1", capacity=2 * SECTOR)
        uuid = uuid4()
        store.create(uuid, 3 * SECTOR)
        with store.open(uuid) as volume:
            volume.pwrite(0, writable(pattern(2 * SECTOR)))
            assert store.free() == 0

            with pytest.raises(StoreFull, match="small"):
                volume.pwrite(2 * SECTOR, writable(b"x"))

            assert read(volume) == pattern(2 * SECTOR) + bytes(SECTOR)

    def test_what_has_its_room_is_overwritten_in_a_full_store(self):
        store = MemoryStore("small", "shelf-1", capacity=SECTOR)
        uuid = uuid4()
        store.create(uuid, SECTOR)
        with store.open(uuid) as volume:
            volume.pwrite(0, writable(pattern(SECTOR)))
            volume.pwrite(5, writable(b"again"))
            assert read(volume, 5, 5) == b"again"

            volume.zero(0, SECTOR)
            assert store.free() == SECTOR

    def test_a_byte_takes_the_room_of_its_sector(self):
        store = MemoryStore("small", "shelf-1", capacity=SECTOR - 1)
        uuid = uuid4()
        store.create(uuid, SECTOR)
        with store.open(uuid) as volume, pytest.raises(StoreFull):
            volume.pwrite(0, writable(b"x"))
