"""A data folder: its lock, its identity, its master key, its stores."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from drivebay import folder
from drivebay.catalog import facts
from drivebay.errors import SetupFailed, StorageFailed
from drivebay.keys import MasterKey
from drivebay.model import Cipher, Drive
from drivebay.service.context import stored_size
from drivebay.service.counters import Counters
from drivebay.settings import Settings, StoreSettings

SIZE = 10_000


@pytest.fixture
def config(tmp_path: Path):
    """Return settings on folders of the test's own."""
    return Settings(data=tmp_path / "data", master_key=tmp_path / "master.key")


@pytest.fixture
def catalog(config: Settings):
    folder.prepare(config.data)
    made = folder.catalog_of(config.data)
    yield made
    made.close()


def known(catalog, key: str) -> str | None:
    with catalog.read() as tx:
        return facts.get(tx, key)


class TestHold:
    def test_a_folder_is_held_once_and_free_when_it_is_let_go(self, tmp_path):
        fd = folder.hold(tmp_path)
        with pytest.raises(SetupFailed, match="another drivebay serves") as refusal:
            folder.hold(tmp_path)
        assert refusal.value.hint
        os.close(fd)

        os.close(folder.hold(tmp_path))

    def test_a_copy_of_the_descriptor_holds_it_too(self, tmp_path):
        fd = folder.hold(tmp_path)
        copy = os.dup(fd)
        os.close(fd)

        with pytest.raises(SetupFailed):
            folder.hold(tmp_path)

        os.close(copy)

    def test_a_refused_holder_leaves_no_descriptor_open(self, tmp_path):
        fd = folder.hold(tmp_path)
        with pytest.raises(SetupFailed):
            folder.hold(tmp_path)

        # The lowest free descriptor is the one that the refused one had.
        spare = os.open(tmp_path, os.O_RDONLY)
        os.close(spare)
        with pytest.raises(SetupFailed):
            folder.hold(tmp_path)
        again = os.open(tmp_path, os.O_RDONLY)
        os.close(again)
        os.close(fd)

        assert again == spare

    def test_a_program_that_is_started_from_here_does_not_hold_it(self, tmp_path):
        fd = folder.hold(tmp_path)

        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(fd)


class TestPrepare:
    def test_it_makes_a_folder_for_its_owner_alone(self, catalog, config):
        assert config.data.stat().st_mode & 0o777 == 0o700
        assert (config.data / "counters").stat().st_mode & 0o777 == 0o700
        assert len(bytes.fromhex(known(catalog, "identity"))) == 16
        assert len(bytes.fromhex(known(catalog, "api-key-pepper"))) == 32
        assert folder.is_first_start(catalog)

    def test_a_folder_that_is_prepared_again_stays_the_same(self, catalog, config):
        before = known(catalog, "identity"), known(catalog, "api-key-pepper")
        folder.end_first_start(catalog)

        folder.prepare(config.data)

        assert (known(catalog, "identity"), known(catalog, "api-key-pepper")) == before
        assert not folder.is_first_start(catalog)

    def test_two_folders_have_two_identities(self, catalog, tmp_path):
        folder.prepare(tmp_path / "other")
        other = folder.catalog_of(tmp_path / "other")

        assert known(other, "identity") != known(catalog, "identity")
        assert known(other, "api-key-pepper") != known(catalog, "api-key-pepper")
        other.close()

    def test_a_folder_that_was_open_to_others_is_closed_to_them(self, tmp_path):
        (tmp_path / "data").mkdir(mode=0o755)

        folder.prepare(tmp_path / "data")

        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")

        with pytest.raises(SetupFailed, match="cannot be made"):
            folder.prepare(tmp_path / "file" / "data")


class TestMasterKey:
    def test_the_first_start_makes_one_and_later_ones_load_it(self, catalog, config):
        key, made = folder.master_key(config, catalog)
        again, made_again = folder.master_key(config, catalog)

        assert (made, made_again) == (True, False)
        assert key.fingerprint == again.fingerprint

    def test_a_key_that_is_there_already_is_taken(self, catalog, config):
        ready = MasterKey.create(config.master_key)

        key, made = folder.master_key(config, catalog)

        assert not made
        assert key.fingerprint == ready.fingerprint

    def test_a_folder_that_has_known_a_key_is_never_given_another(self, catalog, config):
        folder.master_key(config, catalog)
        config.master_key.unlink()

        with pytest.raises(SetupFailed, match="cannot be read"):
            folder.master_key(config, catalog)
        assert not config.master_key.exists()

        MasterKey.create(config.master_key)
        with pytest.raises(SetupFailed, match="is not the master key of the data folder"):
            folder.master_key(config, catalog)

    @pytest.mark.parametrize("where", ["data/key", "data/deep/key", "data/../data/key", "link/key"])
    def test_it_never_lies_inside_the_folder(self, catalog, config, tmp_path, where):
        (tmp_path / "link").symlink_to(config.data)

        with pytest.raises(SetupFailed, match="would lie inside the data folder"):
            folder.master_key(replace(config, master_key=tmp_path / where), catalog)

        assert not list(config.data.rglob("key"))


class TestStores:
    def two(self, config, tmp_path) -> Settings:
        return replace(
            config,
            stores=(
                StoreSettings("a", tmp_path / "a", "shelf-1"),
                StoreSettings("b", tmp_path / "b", "shelf-2"),
            ),
        )

    def test_each_is_set_up_at_its_first_use(self, catalog, config, tmp_path):
        stores = folder.stores_of(self.two(config, tmp_path), catalog)

        assert {name: store.domain for name, store in stores.items()} == {
            "a": "shelf-1",
            "b": "shelf-2",
        }
        assert all(store.is_reachable() for store in stores.values())

    def test_without_any_configured_there_is_one_in_the_folder(self, catalog, config):
        stores = folder.stores_of(config, catalog)

        assert list(stores) == ["default"]
        assert stores["default"].is_reachable()
        assert (config.data / "stores" / "default").is_dir()

    def test_one_whose_folder_is_empty_later_is_not_set_up_again(self, catalog, config, tmp_path):
        settings = self.two(config, tmp_path)
        folder.stores_of(settings, catalog)
        (tmp_path / "a").rename(tmp_path / "unmounted")
        (tmp_path / "a").mkdir()

        stores = folder.stores_of(settings, catalog)

        assert not stores["a"].is_reachable()
        assert stores["b"].is_reachable()
        assert list((tmp_path / "a").iterdir()) == []

    def test_two_in_one_place_are_refused(self, catalog, config, tmp_path):
        settings = replace(
            config,
            stores=(
                StoreSettings("a", tmp_path / "s", "a"),
                StoreSettings("b", tmp_path / "s", "b"),
            ),
        )

        with pytest.raises(SetupFailed, match="store of another data folder or name"):
            folder.stores_of(settings, catalog)

    def test_one_of_another_folder_is_refused(self, catalog, config, tmp_path):
        settings = self.two(config, tmp_path)
        folder.stores_of(settings, catalog)
        folder.prepare(tmp_path / "other")
        other = folder.catalog_of(tmp_path / "other")

        with pytest.raises(SetupFailed, match="store of another data folder or name"):
            folder.stores_of(settings, other)
        other.close()


class TestContext:
    @pytest.fixture
    def ctx(self, catalog, config):
        key, _ = folder.master_key(config, catalog)
        folder.make_counter_files(config.data, ["one", "other"])
        made = folder.context(config, key, writer="one")
        yield made
        made.counters.close()
        made.catalog.close()

    def drive(self, ctx, **fields) -> Drive:
        uuid = uuid4()
        wrapped = ctx.keys.master.make_data_key(uuid)[1]
        made = Drive(
            uuid=uuid,
            owner=uuid4(),
            name="",
            size=SIZE,
            store="default",
            **{"wrapped_key": wrapped, **fields},
        )
        ctx.stores["default"].create(uuid, stored_size(made.size, made.cipher))
        return made

    def test_an_encrypted_drive_reads_back_and_lies_in_cipher_text(self, ctx, config):
        drive = self.drive(ctx)
        with ctx.open_volume(drive) as volume:
            volume.pwrite(0, memoryview(b"canary" * 1000))

        with ctx.open_volume(drive) as volume:
            buffer = bytearray(6000)
            volume.pread(0, memoryview(buffer))
        stored = (config.data / "stores" / "default" / f"{drive.uuid}.volume").read_bytes()
        assert buffer == b"canary" * 1000
        assert b"canary" not in stored

    def test_a_drive_without_a_cipher_lies_as_it_is(self, ctx, config):
        drive = self.drive(ctx, cipher=Cipher.NONE, wrapped_key=None)
        with ctx.open_volume(drive) as volume:
            volume.pwrite(0, memoryview(b"canary"))

        stored = config.data / "stores" / "default" / f"{drive.uuid}.volume"
        assert stored.read_bytes()[:6] == b"canary"
        assert stored.stat().st_size == SIZE

    def test_a_volume_that_is_too_short_is_not_opened(self, ctx, config):
        drive = self.drive(ctx)
        os.truncate(config.data / "stores" / "default" / f"{drive.uuid}.volume", 4096)

        with pytest.raises(StorageFailed, match="find the whole volume"):
            ctx.open_volume(drive)

    def test_a_drive_of_a_store_that_nobody_configured_is_not_opened(self, ctx):
        drive = replace(self.drive(ctx), store="elsewhere")

        with pytest.raises(StorageFailed, match="reach store elsewhere"):
            ctx.open_volume(drive)

    def test_counts_of_every_process_are_read(self, ctx, config):
        other = Counters(config.data / "counters", "other")
        other.add_read(5, 100)
        ctx.counters.add_read(5, 10)

        assert ctx.counters.totals(5).read_bytes == 110
        other.close()
