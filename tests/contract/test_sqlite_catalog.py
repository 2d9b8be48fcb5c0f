"""The catalog in SQLite keeps the contract, and what only SQLite has to promise."""

import itertools
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from contract.catalog_contract import CatalogContract
from contract.catalog_transactions import LONG_S, child, value
from contract.rows import add_drive, add_user
from drivebay.catalog import Catalog, drives, facts, sqlite_url
from drivebay.errors import CatalogFailed, SetupFailed

KEY = bytes(range(100, 192))
ODD_NAMES = ["a b.sqlite", "per%20cent%.sqlite", "ask?mode=ro#x.sqlite", "größe 鍵.sqlite", "a+b&c"]


class TestSqliteCatalog(CatalogContract):
    @pytest.fixture
    def new_url(self, tmp_path: Path):
        numbers = itertools.count()
        return lambda: sqlite_url(tmp_path / f"catalog-{next(numbers)}.sqlite")


@pytest.fixture
def path(tmp_path: Path):
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path):
    made = Catalog(sqlite_url(path))
    made.migrate()
    yield made
    made.close()


class TestUrl:
    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_a_file_of_any_name_is_found_again(self, tmp_path, name):
        made = Catalog(sqlite_url(tmp_path / name))
        made.migrate()
        with made.write() as tx:
            facts.put(tx, "colour", "blue")
        made.close()

        assert [entry.name for entry in tmp_path.iterdir() if "journal" not in entry.name] == [name]
        again = Catalog(sqlite_url(tmp_path / name))
        assert value(again, "colour") == "blue"
        again.close()

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "no url", ""])
    def test_a_url_that_names_no_file_is_refused(self, url):
        with pytest.raises(SetupFailed):
            Catalog(url)


class TestFile:
    def test_it_is_the_owners_alone_and_nothing_else_is_left_beside_it(self, catalog, path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert {entry.name for entry in path.parent.iterdir()} <= {
            path.name,
            f"{path.name}-journal",
        }

    def test_a_catalog_that_vanished_is_not_an_empty_one(self, catalog, path):
        catalog.close()
        path.unlink()

        with pytest.raises(CatalogFailed), catalog.read() as tx:
            facts.get(tx, "colour")
        assert not path.exists()

    def test_a_folder_that_is_not_there_is_told(self, tmp_path):
        missing = Catalog(sqlite_url(tmp_path / "none" / "catalog.sqlite"))

        with pytest.raises(SetupFailed, match="cannot be made"):
            missing.migrate()

    def test_many_that_start_at_once_make_one_catalog(self, tmp_path):
        url = sqlite_url(tmp_path / "catalog.sqlite")
        children = [child(url, "migrate") for _ in range(4)]
        for one in children:
            one.communicate(timeout=LONG_S)

        assert [one.returncode for one in children] == [0] * 4
        assert [entry.name for entry in tmp_path.glob("*")] == ["catalog.sqlite"]


class TestDamage:
    def test_an_empty_file_is_damage_and_not_a_new_catalog(self, path):
        path.touch()

        with pytest.raises(SetupFailed, match="is empty: it was damaged"):
            Catalog(sqlite_url(path)).migrate()
        assert path.stat().st_size == 0

    @pytest.mark.parametrize(
        ("at", "damage"),
        [
            (0, b"not a database at all"),
            (16, b"\xff\xff"),
            (4096, b"\xff" * 2000),
            (3 * 4096, b"\x00" * 4096),
        ],
    )
    def test_a_corrupt_file_is_refused_and_left_as_it_is(self, catalog, path, at, damage):
        catalog.close()
        content = bytearray(path.read_bytes())
        content[at : at + len(damage)] = damage
        path.write_bytes(content)
        damaged = Catalog(sqlite_url(path))

        with pytest.raises(SetupFailed) as refusal:
            damaged.migrate()

        assert str(path) in str(refusal.value)
        assert path.read_bytes() == content
        damaged.close()

    def test_a_file_that_was_cut_short_is_refused(self, catalog, path):
        catalog.close()
        path.write_bytes(path.read_bytes()[:-4096])
        damaged = Catalog(sqlite_url(path))

        with pytest.raises(SetupFailed):
            damaged.migrate()
        damaged.close()

    def test_a_database_of_something_else_is_refused(self, path):
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE drives (x)")
        other.commit()
        other.close()
        catalog = Catalog(sqlite_url(path))

        with pytest.raises(SetupFailed, match="cannot be used"):
            catalog.migrate()
        catalog.close()


class TestSecrecy:
    @pytest.mark.parametrize("forget", ["delete", "change"])
    def test_a_key_that_is_removed_is_in_no_file(self, catalog, path, forget):
        with catalog.write() as tx:
            owner = add_user(tx)
            drive = add_drive(tx, owner.uuid, wrapped_key=KEY)
            for _ in range(50):
                add_drive(tx, owner.uuid, wrapped_key=bytes(92))
        assert KEY in path.read_bytes()

        with catalog.write() as tx:
            if forget == "delete":
                drives.delete(tx, drive.uuid)
            else:
                drives.change(tx, drive.uuid, wrapped_key=None)

        for entry in path.parent.iterdir():
            assert KEY not in entry.read_bytes()


class TestConnections:
    @pytest.mark.parametrize(
        ("pragma", "expected"),
        [
            ("journal_mode", "truncate"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("secure_delete", 1),
        ],
    )
    def test_every_connection_is_set_as_the_promises_need_it(self, catalog, pragma, expected):
        with catalog.read() as one, catalog.read() as other:
            for tx in (one, other):
                assert tx.execute(text(f"PRAGMA {pragma}")).scalar() == expected

    def test_a_write_inside_a_write_is_a_mistake_of_ours(self, catalog):
        with (
            catalog.write(),
            pytest.raises(AssertionError, match="inside another"),
            catalog.write(),
        ):
            pass

        with catalog.write() as tx:
            facts.put(tx, "colour", "blue")

    @pytest.mark.parametrize(
        "code",
        [
            sqlite3.SQLITE_IOERR_FSYNC,
            sqlite3.SQLITE_IOERR_DIR_FSYNC,
            sqlite3.SQLITE_IOERR_CLOSE,
        ],
    )
    def test_after_a_failed_flush_nothing_is_changed_any_more(self, catalog, code):
        lost = sqlite3.OperationalError("disk I/O error")
        lost.sqlite_errorcode = code
        with catalog.write() as tx:
            facts.put(tx, "colour", "blue")
        with pytest.raises(CatalogFailed), catalog.write():
            raise lost

        with pytest.raises(CatalogFailed) as refusal, catalog.write():
            pass

        assert refusal.value.__notes__ == [
            "a flush failed earlier: no changes until the process is restarted"
        ]
        assert value(catalog, "colour") == "blue"

    def test_another_failure_does_not_stop_later_changes(self, catalog):
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        with pytest.raises(CatalogFailed), catalog.write():
            raise full

        with catalog.write() as tx:
            facts.put(tx, "colour", "blue")
        assert value(catalog, "colour") == "blue"
