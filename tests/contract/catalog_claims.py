"""The catalog's claims: which server holds which drive, and which ticket opens it."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.rows import add_drive, add_user
from drivebay.catalog import Catalog, Transaction, claims, drives
from drivebay.errors import CatalogFailed
from drivebay.model import Claim, ClaimAccess, Drive, DriveState, Standard

MORE_THAN_A_QUERY_TAKES = 33_000


def a_claim(drive: Drive, **fields) -> Claim:
    """Return a claim of the drive's owner that no catalog has yet."""
    return Claim(
        **{
            "id": 0,
            "drive": drive.uuid,
            "server": uuid4(),
            "holder": drive.owner,
            "access": ClaimAccess.WRITE,
            "ticket_hash": None,
            **fields,
        }
    )


def add_claim(tx: Transaction, drive: Drive, **fields) -> Claim:
    """Record a new claim of the drive's owner."""
    return claims.insert(tx, a_claim(drive, **fields))


def some_drives(tx: Transaction, count: int, **fields) -> list[Drive]:
    """Record drives of one new user."""
    owner = add_user(tx)
    return [add_drive(tx, owner.uuid, **fields) for _ in range(count)]


class ClaimQueries:
    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.uuids(), st.sampled_from(ClaimAccess), st.none() | st.binary(min_size=1))
    def test_a_claim_is_found_as_it_was_recorded(self, catalog: Catalog, server, access, ticket):
        with catalog.write() as tx:
            (drive,) = some_drives(tx, 1)
            ticket_hash = None if ticket is None else drive.uuid.bytes + ticket
            made = a_claim(drive, server=server, access=access, ticket_hash=ticket_hash)
            inserted = claims.insert(tx, replace(made, id=99_999_999))

        assert inserted == replace(made, id=inserted.id)
        assert 0 < inserted.id < 99_999_999
        with catalog.read() as tx:
            assert claims.of_drive(tx, drive.uuid) == (inserted,)
            if ticket_hash is not None:
                assert claims.by_ticket(tx, ticket_hash) == inserted

    def test_a_drive_comes_with_its_claims_oldest_first_by_whichever_way_it_is_found(
        self, catalog: Catalog
    ):
        with catalog.write() as tx:
            drive, idle, other = some_drives(tx, 3, standard=Standard())
            reader = add_user(tx)
            first = add_claim(tx, drive, server=UUID(int=2**128 - 1))
            beside = add_claim(tx, other)
            second = add_claim(tx, drive, server=UUID(int=0), holder=reader.uuid)

        expected = {drive.uuid: (first, second), idle.uuid: (), other.uuid: (beside,)}
        with catalog.read() as tx:
            assert drives.get(tx, drive.uuid) == replace(drive, claims=(first, second))
            assert drives.get(tx, idle.uuid) == idle
            for found in (drives.owned(tx, drive.owner), drives.standard(tx), drives.all_ready(tx)):
                assert {row.uuid: row.claims for row in found} == expected

    def test_a_server_holds_a_drive_once_and_as_many_drives_as_there_are(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, other = some_drives(tx, 2)
            made = add_claim(tx, drive)
            elsewhere = add_claim(tx, other, server=made.server)

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            add_claim(tx, drive, server=made.server, holder=add_user(tx).uuid)

        with catalog.read() as tx:
            assert claims.of_drive(tx, drive.uuid) == (made,)
            assert claims.of_drive(tx, other.uuid) == (elsewhere,)

    @pytest.mark.parametrize("fields", [{"drive": uuid4()}, {"holder": uuid4()}])
    def test_a_claim_needs_a_drive_and_a_holder_that_are_there(self, catalog: Catalog, fields):
        with catalog.write() as tx:
            (drive,) = some_drives(tx, 1)

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            claims.insert(tx, replace(a_claim(drive), **fields))

        with catalog.read() as tx:
            assert claims.of_drive(tx, drive.uuid) == ()

    def test_a_ticket_opens_one_claim(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, other = some_drives(tx, 2)
            made = add_claim(tx, drive, ticket_hash=b"ticket")

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            add_claim(tx, other, ticket_hash=b"ticket")

        with catalog.read() as tx:
            assert claims.by_ticket(tx, b"ticket") == made
            assert claims.by_ticket(tx, b"ticke") is None
            assert claims.by_ticket(tx, b"") is None

    def test_a_void_ticket_opens_nothing_and_the_claim_stays(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, other = some_drives(tx, 2)
            made, kept = (
                add_claim(tx, one, ticket_hash=str(one.uuid).encode()) for one in (drive, other)
            )
            claims.void(tx, made.id)
            claims.void(tx, made.id)
            claims.void(tx, kept.id + 1)

        with catalog.read() as tx:
            assert claims.by_ticket(tx, str(drive.uuid).encode()) is None
            assert claims.of_drive(tx, drive.uuid) == (replace(made, ticket_hash=None),)
            assert claims.by_ticket(tx, str(other.uuid).encode()) == kept

    def test_any_number_of_claims_has_no_ticket(self, catalog: Catalog):
        with catalog.write() as tx:
            (drive,) = some_drives(tx, 1)
            made = [add_claim(tx, drive) for _ in range(3)]

        with catalog.read() as tx:
            assert claims.of_drive(tx, drive.uuid) == tuple(made)

    def test_a_deleted_claim_is_forgotten_and_the_others_stay(self, catalog: Catalog):
        with catalog.write() as tx:
            (drive,) = some_drives(tx, 1)
            first, second, third = (add_claim(tx, drive) for _ in range(3))
            claims.delete(tx, second.id)
            claims.delete(tx, second.id)

        with catalog.read() as tx:
            assert claims.of_drive(tx, drive.uuid) == (first, third)

    def test_a_deleted_drive_is_forgotten_with_the_claims_on_it(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, other = some_drives(tx, 2)
            add_claim(tx, drive, ticket_hash=b"one")
            add_claim(tx, drive, ticket_hash=b"two")
            kept = add_claim(tx, other)
            drives.delete(tx, drive.uuid)

        with catalog.read() as tx:
            assert claims.of_drive(tx, drive.uuid) == ()
            assert [claims.by_ticket(tx, ticket) for ticket in (b"one", b"two")] == [None, None]
            assert claims.of_holder(tx, drive.owner) == [kept]

    @pytest.mark.parametrize("ending", ["claim", "drive"])
    def test_a_claims_id_is_never_used_again(self, catalog: Catalog, ending):
        with catalog.write() as tx:
            owner = add_user(tx)
        ids = []
        for _ in range(5):
            with catalog.write() as tx:
                drive = add_drive(tx, owner.uuid)
                made = add_claim(tx, drive)
                ids.append(made.id)
            with catalog.write() as tx:
                if ending == "claim":
                    claims.delete(tx, made.id)
                drives.delete(tx, drive.uuid)

        assert ids == sorted(set(ids))

    def test_a_users_claims_are_those_that_he_made_on_whosever_drives(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, other = some_drives(tx, 2)
            reader = add_user(tx)
            own, by_reader, also = (
                add_claim(tx, drive),
                add_claim(tx, other, holder=reader.uuid, access=ClaimAccess.READ),
                add_claim(tx, drive, holder=reader.uuid),
            )

        with catalog.read() as tx:
            assert claims.of_holder(tx, drive.owner) == [own]
            assert claims.of_holder(tx, reader.uuid) == [by_reader, also]
            assert claims.of_holder(tx, uuid4()) == []

    def test_a_change_of_a_drive_leaves_its_claims(self, catalog: Catalog):
        with catalog.write() as tx:
            (drive,) = some_drives(tx, 1)
            made = add_claim(tx, drive)
            drives.change(tx, drive.uuid, name="other", state=DriveState.DESTROYING)

        with catalog.read() as tx:
            assert claims.of_drive(tx, drive.uuid) == (made,)

    def test_a_claim_that_is_not_committed_is_none(self, catalog: Catalog):
        with catalog.write() as tx:
            (drive,) = some_drives(tx, 1)
            made = add_claim(tx, drive)

        def claim_and_fail(tx: Transaction) -> None:
            add_claim(tx, drive, ticket_hash=b"ticket")
            add_claim(tx, drive, server=made.server)

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            claim_and_fail(tx)

        with catalog.read() as tx:
            assert claims.of_drive(tx, drive.uuid) == (made,)
            assert claims.by_ticket(tx, b"ticket") is None

    def test_claims_of_more_drives_than_a_query_takes_are_found(self, catalog: Catalog):
        with catalog.write() as tx:
            drive, _, other = some_drives(tx, 3)
            held = [add_claim(tx, drive), add_claim(tx, drive)]
            last = add_claim(tx, other)
            nowhere = [str(UUID(int=number)) for number in range(MORE_THAN_A_QUERY_TAKES)]

        with catalog.read() as tx:
            found = claims.of_drives(tx, [str(drive.uuid), *nowhere, str(other.uuid)])
            nothing = claims.of_drives(tx, [])

        assert found == {str(drive.uuid): tuple(held), str(other.uuid): (last,)}
        assert nothing == {}
