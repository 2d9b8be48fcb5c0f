"""The catalog's drives."""

from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.rows import a_drive, add_drive, add_job, add_user
from drivebay.catalog import Catalog, drives, jobs
from drivebay.errors import CatalogFailed
from drivebay.model import Cipher, ClaimType, Drive, DriveState, Standard, Usage

SIZE_MAX = 2**63 - 1

# A NUL is the one character that no field of a drive may hold.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
states = st.sampled_from(DriveState)
drive_fields = st.fixed_dictionaries(
    {
        "name": texts,
        "size": st.integers(1, SIZE_MAX),
        "cipher": st.sampled_from(Cipher),
        "claim_type": st.sampled_from(ClaimType),
        "readers": st.lists(st.uuids().map(str), max_size=3).map(tuple),
        "tags": st.lists(texts, max_size=3).map(tuple),
        "user_data": st.dictionaries(texts, texts, max_size=3),
        "tier": texts,
        "store": texts,
        "state": states,
        "wrapped_key": st.none() | st.binary(max_size=92),
        "fault": texts,
        "standard": st.none()
        | st.builds(
            Standard,
            media=st.sampled_from(["disk", "cdrom"]),
            format=st.sampled_from(["", "gzip"]),
            rawsize=st.none() | st.integers(0, SIZE_MAX),
        ),
    }
)

CHANGES = [
    {"name": "other"},
    {"size": SIZE_MAX},
    {"claim_type": ClaimType.SHARED},
    {"readers": ("a", "b")},
    {"readers": ()},
    {"tags": ("x y", '"', "é")},
    {"user_data": {"a": "1\n2", "b": "'"}},
    {"state": DriveState.DESTROYING},
    {"wrapped_key": None},
    {"wrapped_key": b"\0" * 92},
    {"fault": "a flush failed"},
    {"standard": None},
    {"standard": Standard(media="cdrom")},
    {"standard": Standard(format="gzip", rawsize=0)},
    {"name": "a", "size": 1, "tags": ("t",), "standard": None},
    {},
]


class DriveQueries:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(drive_fields)
    def test_a_drive_is_found_as_it_was_recorded(self, catalog: Catalog, fields):
        with catalog.write() as tx:
            owner = add_user(tx)
            drive = a_drive(owner.uuid, **fields)
            inserted = drives.insert(tx, replace(drive, id=99))

        with catalog.read() as tx:
            found = drives.get(tx, drive.uuid)
        assert found == inserted == replace(drive, id=inserted.id)

    def test_a_drive_that_is_not_there_is_none(self, catalog: Catalog):
        with catalog.read() as tx:
            assert drives.get(tx, uuid4()) is None

    @pytest.mark.parametrize("fields", [{"owner": uuid4()}, {"size": 0}, {"size": -1}])
    def test_a_drive_that_cannot_be_is_refused(self, catalog: Catalog, fields):
        with catalog.write() as tx:
            drive = replace(a_drive(add_user(tx).uuid), **fields)

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            drives.insert(tx, drive)

        with catalog.read() as tx:
            assert drives.get(tx, drive.uuid) is None

    def test_a_drives_uuid_is_taken_once_whatever_its_state(self, catalog: Catalog):
        with catalog.write() as tx:
            owner = add_user(tx)
            drive = add_drive(tx, owner.uuid, state=DriveState.DESTROYING)

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            add_drive(tx, owner.uuid, uuid=drive.uuid)

        with catalog.read() as tx:
            assert drives.get(tx, drive.uuid) == drive

    @pytest.mark.parametrize("changes", CHANGES)
    def test_a_change_of_a_drive_sets_what_it_names_and_nothing_else(
        self, catalog: Catalog, changes
    ):
        with catalog.write() as tx:
            owner = add_user(tx)
            drive = add_drive(
                tx, owner.uuid, wrapped_key=b"key", standard=Standard(format="gzip", rawsize=5)
            )
            other = add_drive(tx, owner.uuid)
            drives.change(tx, drive.uuid, **changes)
            drives.change(tx, uuid4(), **changes)

        with catalog.read() as tx:
            assert drives.get(tx, drive.uuid) == replace(drive, **changes)
            assert drives.get(tx, other.uuid) == other

    def test_each_list_has_its_drives_oldest_first(self, catalog: Catalog):
        with catalog.write() as tx:
            one, other = add_user(tx), add_user(tx)
            plain = add_drive(tx, one.uuid)
            foreign = add_drive(tx, other.uuid, standard=Standard())
            making = add_drive(tx, one.uuid, state=DriveState.CREATING, standard=Standard())
            shown = add_drive(tx, one.uuid, standard=Standard(media="cdrom"))
            ending = add_drive(tx, other.uuid, state=DriveState.DESTROYING)
            # An old row that is changed stays in its place.
            drives.change(tx, plain.uuid, name="web")

        with catalog.read() as tx:
            assert drives.owned(tx, one.uuid) == [plain, shown]
            assert drives.owned(tx, other.uuid) == [foreign]
            assert drives.owned(tx, uuid4()) == []
            assert drives.standard(tx) == [foreign, shown]
            assert drives.unfinished(tx) == [making, ending]
            assert drives.all_ready(tx) == [plain, foreign, shown]
            assert drives.get(tx, making.uuid) == making

    def test_a_drive_comes_with_every_job_that_it_is_part_of(self, catalog: Catalog):
        with catalog.write() as tx:
            owner, other = add_user(tx), add_user(tx)
            source = add_drive(tx, owner.uuid, standard=Standard())
            onto = add_drive(tx, owner.uuid)
            foreign = add_drive(tx, other.uuid)
            idle = add_drive(tx, owner.uuid)
            first, second = add_job(tx, onto, source), add_job(tx, foreign, source)
            jobs.fail(tx, second.id, "too small")
            failed = jobs.get(tx, foreign.uuid)

        with catalog.read() as tx:
            found = {drive.uuid: drive.jobs for drive in drives.owned(tx, owner.uuid)}
            assert found == {
                source.uuid: (first, failed),
                onto.uuid: (first,),
                idle.uuid: (),
            }
            assert [drive.jobs for drive in drives.standard(tx)] == [(first, failed)]
            assert [drive.uuid for drive in drives.all_ready(tx)] == [
                source.uuid,
                onto.uuid,
                foreign.uuid,
                idle.uuid,
            ]
            looked_up = drives.get(tx, source.uuid)
        assert isinstance(looked_up, Drive)
        assert looked_up.active_jobs == (first,)
        assert looked_up.imaging is None

    def test_a_deleted_drive_is_forgotten_with_the_job_onto_it(self, catalog: Catalog):
        with catalog.write() as tx:
            owner = add_user(tx)
            drive, source, third = (add_drive(tx, owner.uuid) for _ in range(3))
            add_job(tx, drive, source)
            onward = add_job(tx, third, drive)
            drives.delete(tx, drive.uuid)
            drives.delete(tx, uuid4())

        with catalog.read() as tx:
            assert drives.get(tx, drive.uuid) is None
            assert jobs.get(tx, drive.uuid) is None
            # A job from it stays, and still says what it was.
            assert jobs.get(tx, third.uuid) == onward
            assert drives.get(tx, source.uuid) == source

    def test_a_drives_id_is_never_used_again(self, catalog: Catalog):
        with catalog.write() as tx:
            owner = add_user(tx)
        ids = []
        for _ in range(5):
            with catalog.write() as tx:
                drive = add_drive(tx, owner.uuid)
                ids.append(drive.id)
            with catalog.write() as tx:
                drives.delete(tx, drive.uuid)

        assert ids == sorted(set(ids))
        assert ids[0] > 0

    def test_usage_is_what_stays_or_comes_and_may_be_past_63_bits(self, catalog: Catalog):
        with catalog.write() as tx:
            owner, other = add_user(tx), add_user(tx)
            for size in (SIZE_MAX, SIZE_MAX, SIZE_MAX, 1):
                add_drive(tx, owner.uuid, size=size)
            add_drive(tx, owner.uuid, size=7, state=DriveState.CREATING)
            add_drive(tx, owner.uuid, size=100, state=DriveState.DESTROYING)
            add_drive(tx, other.uuid, size=2**20 - 1)
            add_drive(tx, other.uuid, size=2**20 + 1)

        with catalog.read() as tx:
            assert drives.usage(tx, owner.uuid) == Usage(drives=5, size_bytes=3 * SIZE_MAX + 8)
            assert drives.usage(tx, other.uuid) == Usage(drives=2, size_bytes=2**21)
            assert drives.usage(tx, uuid4()) == Usage(drives=0, size_bytes=0)
