"""Who may read and change which drive, and that nothing tells the rest from what is not there."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from contract.rows import add_drive, add_user
from drivebay.catalog import Catalog, sqlite_url
from drivebay.catalog import drives as rows
from drivebay.errors import DriveNotFound
from drivebay.model import EVERYONE, Drive, DriveState, Standard
from drivebay.service import access

OWNER, READER, STRANGER = (UUID(int=number) for number in (1, 2, 3))

# For each set of readers who may read the drive; its owner alone may change it.
READERS = {
    (): {OWNER},
    (str(READER),): {OWNER, READER},
    (str(READER), str(uuid4())): {OWNER, READER},
    (str(OWNER),): {OWNER},
    (EVERYONE,): {OWNER, READER, STRANGER},
}


@pytest.fixture
def catalog(tmp_path):
    made = Catalog(sqlite_url(tmp_path / "catalog.sqlite"))
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def drive(catalog: Catalog) -> Drive:
    with catalog.write() as tx:
        add_user(tx, uuid=OWNER)
        return add_drive(tx, OWNER)


@pytest.mark.parametrize("readers", READERS)
def test_readers_read_and_only_the_owner_changes(catalog, drive, readers):
    with catalog.write() as tx:
        rows.change(tx, drive.uuid, readers=readers)

    expected = replace(drive, readers=readers)
    with catalog.read() as tx:
        for caller in (OWNER, READER, STRANGER):
            assert access.may_read(caller, expected) == (caller in READERS[readers])
            if caller in READERS[readers]:
                assert access.readable(rows.get(tx, drive.uuid), caller, drive.uuid) == expected
            else:
                with pytest.raises(DriveNotFound):
                    access.readable(rows.get(tx, drive.uuid), caller, drive.uuid)
            if caller == OWNER:
                assert access.owned(rows.get(tx, drive.uuid), caller, drive.uuid) == expected
            else:
                with pytest.raises(DriveNotFound):
                    access.owned(rows.get(tx, drive.uuid), caller, drive.uuid)


@pytest.mark.parametrize("state", [DriveState.CREATING, DriveState.DESTROYING])
def test_a_drive_on_its_way_in_or_out_is_there_for_nobody(catalog, drive, state):
    with catalog.write() as tx:
        rows.change(tx, drive.uuid, state=state, readers=(EVERYONE,), standard=Standard())

        for look in (access.readable, access.owned):
            with pytest.raises(DriveNotFound):
                look(rows.get(tx, drive.uuid), OWNER, drive.uuid)


def test_being_standard_makes_nobody_a_reader(catalog, drive):
    with catalog.write() as tx:
        rows.change(tx, drive.uuid, standard=Standard())

        with pytest.raises(DriveNotFound):
            access.readable(rows.get(tx, drive.uuid), STRANGER, drive.uuid)


def test_what_one_may_not_see_is_told_like_what_is_not_there(catalog, drive):
    missing = uuid4()
    with catalog.read() as tx:
        for look in (access.readable, access.owned):
            told = set()
            for uuid in (drive.uuid, missing):
                with pytest.raises(DriveNotFound) as refusal:
                    look(rows.get(tx, uuid), STRANGER, uuid)
                told.add(str(refusal.value).replace(str(uuid), "DRIVE"))
            assert told == {"drive DRIVE not found"}
