"""The catalog's users and facts."""

from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import text

from contract.rows import a_user, add_user
from drivebay.catalog import Catalog, facts, users
from drivebay.errors import CatalogFailed, SetupFailed


class UserQueries:
    def test_a_user_is_found_as_it_was_recorded(self, catalog: Catalog):
        user = a_user(name="Zoë", key_hash=b"\0\xff" * 16, quota_drives=0, quota_bytes=2**63 - 1)
        with catalog.write() as tx:
            users.insert(tx, user)

        with catalog.read() as tx:
            assert users.get(tx, user.uuid) == user
            assert users.get(tx, uuid4()) is None

    def test_a_users_uuid_is_taken_once(self, catalog: Catalog):
        user = a_user(name="first")
        with catalog.write() as tx:
            users.insert(tx, user)

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            users.insert(tx, replace(user, name="second"))

        with catalog.read() as tx:
            assert users.get(tx, user.uuid) == user

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "other"},
            {"key_hash": b"x" * 32},
            {"enabled": False},
            {"quota_drives": 5},
            {"quota_bytes": None},
            {"name": "a", "enabled": False, "quota_drives": None},
            {},
        ],
    )
    def test_a_change_of_a_user_sets_what_it_names_and_nothing_else(
        self, catalog: Catalog, changes
    ):
        with catalog.write() as tx:
            user = add_user(tx, name="one", quota_drives=1, quota_bytes=2)
            other = add_user(tx, name="two")
            users.change(tx, user.uuid, **changes)
            users.change(tx, uuid4(), **changes)

        with catalog.read() as tx:
            assert users.get(tx, user.uuid) == replace(user, **changes)
            assert users.get(tx, other.uuid) == other

    @pytest.mark.parametrize("changes", [{"quota_drives": -1}, {"quota_bytes": -1}])
    def test_a_quota_below_zero_is_refused(self, catalog: Catalog, changes):
        with catalog.write() as tx:
            user = add_user(tx)

        with pytest.raises(CatalogFailed), catalog.write() as tx:
            users.change(tx, user.uuid, **changes)

    def test_a_user_is_found_by_uuid_or_by_name(self, catalog: Catalog):
        with catalog.write() as tx:
            user = add_user(tx, name="web team")

        with catalog.read() as tx:
            for word in ("web team", str(user.uuid), str(user.uuid).upper()):
                assert users.find(tx, word) == user
            for word in ("web", "WEB TEAM", "", "web%", str(uuid4())):
                assert users.find(tx, word) is None

    def test_a_name_that_several_have_is_told_and_a_uuid_comes_before_a_name(
        self, catalog: Catalog
    ):
        with catalog.write() as tx:
            one, other = add_user(tx, name="twin"), add_user(tx, name="twin")
            add_user(tx, name=str(one.uuid))

        with catalog.read() as tx:
            with pytest.raises(SetupFailed, match="2 users are called twin"):
                users.find(tx, "twin")
            assert users.find(tx, str(one.uuid)) == one
            assert users.find(tx, str(other.uuid)) == other

    def test_users_are_listed_oldest_first_disabled_ones_included(self, catalog: Catalog):
        with catalog.write() as tx:
            made = [add_user(tx, enabled=number != 1) for number in range(4)]
            # The database's clock may be no finer than a second.
            for second, user in enumerate(made):
                tx.execute(
                    text("UPDATE users SET created_at = :at WHERE uuid = :uuid"),
                    {"at": f"2026-01-01 00:00:0{second}", "uuid": str(user.uuid)},
                )

        with catalog.read() as tx:
            assert users.listed(tx) == made


class FactQueries:
    def test_a_fact_is_what_was_put_last(self, catalog: Catalog):
        with catalog.write() as tx:
            assert facts.get(tx, "colour") is None
            facts.put(tx, "colour", "blue")
            facts.put(tx, "other", "x")
            facts.put(tx, "colour", "größer")

        with catalog.read() as tx:
            assert facts.get(tx, "colour") == "größer"
            assert facts.get(tx, "other") == "x"
            assert facts.get(tx, "col") is None
