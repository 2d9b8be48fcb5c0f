"""What every `Store` promises (src/drivebay/storage/volume.py), sentence by sentence.

A subclass gives the fixture `store`, named "kept-here" in the domain "shelf-1".
"""

from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from contract.stacks import pattern, read, writable
from drivebay.errors import StorageFailed
from drivebay.storage.volume import Store

SIZE = 10_000
TIB = 2**40


class StoreContract:
    def test_it_knows_its_name_and_its_failure_domain(self, store: Store):
        assert (store.name, store.domain) == ("kept-here", "shelf-1")

    def test_a_store_that_is_set_up_is_reachable_and_empty(self, store: Store):
        assert store.is_reachable()
        assert list(store.volumes()) == []
        assert not store.has(uuid4())

    @pytest.mark.parametrize("size", [1, 4095, 4096, 4097, SIZE])
    def test_a_new_volume_is_there_and_full_of_zeros(self, store: Store, size):
        uuid = uuid4()
        store.create(uuid, size)

        assert store.has(uuid)
        assert list(store.volumes()) == [uuid]
        with store.open(uuid) as volume:
            assert volume.size == size
            assert read(volume) == bytes(size)

    def test_a_large_volume_takes_no_room(self, store: Store):
        uuid = uuid4()
        store.create(uuid, TIB)

        with store.open(uuid) as volume:
            assert volume.size == TIB
            assert volume.allocated() < 2**20
            assert read(volume, TIB - 5, 5) == bytes(5)

    def test_every_volume_is_listed_once(self, store: Store):
        made = {uuid4() for _ in range(20)}
        for uuid in made:
            store.create(uuid, SIZE)

        found = list(store.volumes())
        assert len(found) == len(made)
        assert set(found) == made

    def test_volumes_may_come_and_go_while_they_are_listed(self, store: Store):
        made = [uuid4() for _ in range(5)]
        for uuid in made:
            store.create(uuid, SIZE)

        found = []
        for uuid in store.volumes():
            found.append(uuid)
            store.destroy(uuid)
            store.create(uuid4(), SIZE)

        assert set(made) <= set(found)

    def test_volumes_do_not_share_their_bytes(self, store: Store):
        one, other = uuid4(), UUID(int=0)
        store.create(one, SIZE)
        store.create(other, SIZE)
        with store.open(one) as volume:
            volume.pwrite(0, writable(pattern(SIZE)))

        with store.open(other) as volume:
            assert read(volume) == bytes(SIZE)

    def test_a_volume_that_is_there_is_not_made_again(self, store: Store):
        uuid = uuid4()
        store.create(uuid, SIZE)
        with store.open(uuid) as volume:
            volume.pwrite(0, writable(pattern(SIZE)))

        with pytest.raises(StorageFailed):
            store.create(uuid, 2 * SIZE)

        with store.open(uuid) as volume:
            assert read(volume) == pattern(SIZE)

    def test_a_volume_that_is_not_there_cannot_be_opened(self, store: Store):
        with pytest.raises(StorageFailed):
            store.open(uuid4())

        assert list(store.volumes()) == []

    def test_a_destroyed_volume_is_gone(self, store: Store):
        uuid, other = uuid4(), uuid4()
        store.create(uuid, SIZE)
        store.create(other, SIZE)

        store.destroy(uuid)

        assert not store.has(uuid)
        assert store.has(other)
        assert list(store.volumes()) == [other]
        with pytest.raises(StorageFailed):
            store.open(uuid)

    def test_destroying_what_is_not_there_is_no_error(self, store: Store):
        uuid = uuid4()
        store.destroy(uuid)
        store.create(uuid, SIZE)
        store.destroy(uuid)
        store.destroy(uuid)

        assert list(store.volumes()) == []

    def test_nothing_of_a_destroyed_volume_shows_in_the_next_of_its_name(self, store: Store):
        uuid = uuid4()
        store.create(uuid, SIZE)
        with store.open(uuid) as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            volume.flush()
        store.destroy(uuid)

        store.create(uuid, SIZE)

        with store.open(uuid) as volume:
            assert read(volume) == bytes(SIZE)

    def test_a_volume_that_is_open_may_be_destroyed(self, store: Store):
        uuid = uuid4()
        store.create(uuid, SIZE)
        with store.open(uuid) as volume:
            volume.pwrite(0, writable(pattern(SIZE)))
            store.destroy(uuid)

            assert not store.has(uuid)
            with suppress(StorageFailed):  # It may be cut already; it must not be closed badly.
                read(volume)
        assert uuid not in list(store.volumes())

    def test_free_room_is_a_number_of_bytes(self, store: Store):
        assert store.free() > 0
