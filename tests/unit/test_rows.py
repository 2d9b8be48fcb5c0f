"""Rows that are kept in memory are the rows that are in the catalog, whoever changes it."""

import subprocess
import sys
import threading
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from contract.rows import add_drive, add_user
from drivebay.catalog import Catalog, Rows, drives, sqlite_url, users

CHANGE_ELSEWHERE = """
import sys
from uuid import UUID
from drivebay.catalog import Catalog, drives, sqlite_url
from pathlib import Path
catalog = Catalog(sqlite_url(Path(sys.argv[1])))
with catalog.write() as tx:
    drives.change(tx, UUID(sys.argv[2]), name="changed elsewhere")
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def catalog(path):
    made = Catalog(sqlite_url(path))
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def rows(catalog: Catalog) -> Rows:
    return Rows(catalog)


@pytest.fixture
def uuid(catalog: Catalog) -> UUID:
    with catalog.write() as tx:
        return add_drive(tx, add_user(tx).uuid).uuid


def test_a_row_is_kept_once_it_was_asked_for(rows, uuid):
    assert rows.kept_drive(uuid) is None

    found = rows.drive(uuid)

    assert found is not None
    assert rows.kept_drive(uuid) is found
    assert rows.drive(uuid) is found


def test_every_commit_ends_what_is_kept(catalog, rows, uuid):
    rows.drive(uuid)

    with catalog.write() as tx:
        drives.change(tx, uuid, name="new")

    assert rows.kept_drive(uuid) is None
    assert rows.drive(uuid).name == "new"


def test_a_commit_of_another_process_ends_what_is_kept(rows, uuid, path):
    rows.drive(uuid)

    subprocess.run([sys.executable, "-c", CHANGE_ELSEWHERE, str(path), str(uuid)], check=True)

    assert rows.drive(uuid).name == "changed elsewhere"


def test_a_transaction_that_is_rolled_back_changes_nothing(catalog, rows, uuid):
    before = rows.drive(uuid)

    with suppress(KeyError), catalog.write() as tx:
        drives.change(tx, uuid, name="never")
        raise KeyError

    assert rows.drive(uuid) == before


def test_what_is_not_there_is_not_kept_and_is_found_once_it_is(catalog, rows, uuid):
    other = uuid4()
    assert rows.drive(other) is None

    with catalog.write() as tx:
        drives.delete(tx, uuid)

    assert rows.drive(uuid) is None
    assert rows.kept_drive(uuid) is None


def test_a_recent_row_is_the_last_that_was_read_however_old_it_is(catalog, rows, uuid):
    assert rows.recent_drive(uuid) is None
    found = rows.drive(uuid)

    with catalog.write() as tx:
        drives.change(tx, uuid, name="new")

    assert rows.recent_drive(uuid) is found
    newer = rows.drive(uuid)
    assert newer.name == "new"
    assert rows.recent_drive(uuid) is newer


def test_a_drive_that_is_gone_may_be_recent_but_is_not_there(catalog, rows, uuid):
    found = rows.drive(uuid)
    with catalog.write() as tx:
        drives.delete(tx, uuid)

    assert rows.drive(uuid) is None

    assert rows.recent_drive(uuid) in (found, None)
    assert rows.kept_drive(uuid) is None


def test_of_many_rows_those_that_were_read_last_are_kept(catalog, rows, uuid, monkeypatch):
    monkeypatch.setattr("drivebay.catalog.rows._KEPT_MAX", 2)
    with catalog.write() as tx:
        owner = drives.get(tx, uuid).owner
        second, third = (add_drive(tx, owner).uuid for _ in range(2))
    for one in (uuid, second, uuid, third):
        assert rows.drive(one).uuid == one

    assert rows.kept_drive(second) is None
    assert rows.recent_drive(second) is None
    assert rows.kept_drive(uuid).uuid == uuid
    assert rows.kept_drive(third).uuid == third


def test_users_are_kept_in_the_same_way(catalog, rows):
    with catalog.write() as tx:
        user = add_user(tx)
    assert rows.user(user.uuid).enabled
    assert rows.kept_user(user.uuid) is not None

    with catalog.write() as tx:
        users.change(tx, user.uuid, enabled=False)

    assert rows.kept_user(user.uuid) is None
    assert not rows.user(user.uuid).enabled


def test_nobody_sees_a_row_older_than_the_last_commit_that_had_returned(catalog, uuid):
    """A writer counts up; each reader looks at what is committed, then at the row."""
    committed, stale = [0], []
    ended = threading.Event()
    rows = Rows(catalog)

    def look() -> None:
        while not ended.is_set():
            at_least = committed[0]
            name = rows.drive(uuid).name
            if name.isdigit() and int(name) < at_least:
                stale.append((name, at_least))

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 101):
        with catalog.write() as tx:
            drives.change(tx, uuid, name=str(number))
        committed[0] = number
    ended.set()
    for reader in readers:
        reader.join()

    assert stale == []
