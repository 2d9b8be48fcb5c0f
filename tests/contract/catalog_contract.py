"""What the catalog promises, whatever database is under it.

A subclass gives the fixture `new_url`, a function that returns the URL of another empty database
each time.  What only SQLite does is tested in `test_sqlite_catalog.py`.
"""

import pytest
from sqlalchemy import inspect, text

from contract.catalog_claims import ClaimQueries
from contract.catalog_drives import DriveQueries
from contract.catalog_jobs import JobQueries
from contract.catalog_transactions import Transactions
from contract.catalog_users import FactQueries, UserQueries
from drivebay.catalog import Catalog, Transaction, facts
from drivebay.catalog.migrations import HEAD
from drivebay.catalog.tables import metadata
from drivebay.errors import SetupFailed

VERSION_TABLE = "alembic_version"


class CatalogContract(
    UserQueries, FactQueries, DriveQueries, JobQueries, ClaimQueries, Transactions
):
    @pytest.fixture
    def url(self, new_url):
        return new_url()

    @pytest.fixture
    def catalog(self, url: str):
        made = Catalog(url)
        try:
            made.migrate()
            yield made
        finally:
            made.close()

    def test_migrating_again_changes_nothing(self, catalog: Catalog, url: str):
        with catalog.write() as tx:
            facts.put(tx, "colour", "blue")
        again = Catalog(url)

        again.migrate()
        catalog.migrate()

        with again.read() as tx:
            assert facts.get(tx, "colour") == "blue"
        again.close()

    def test_migrations_build_the_tables_that_the_queries_see(self, catalog: Catalog, new_url):
        other = Catalog(new_url())
        other.migrate()
        with other.write() as tx:
            metadata.drop_all(tx)
            tx.execute(text(f"DROP TABLE {VERSION_TABLE}"))
            metadata.create_all(tx)

        with catalog.read() as migrated, other.read() as described:
            assert schema(migrated) == schema(described)
        other.close()

    def test_a_catalog_of_a_newer_program_is_refused_and_not_changed(
        self, catalog: Catalog, url: str
    ):
        with catalog.write() as tx:
            tx.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        older = Catalog(url)

        with pytest.raises(SetupFailed, match="newer drivebay") as refusal:
            older.migrate()

        assert refusal.value.hint
        with older.read() as tx:
            assert tx.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == "9999"
        older.close()

    def test_the_revision_is_recorded(self, catalog: Catalog):
        with catalog.read() as tx:
            found = tx.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()

        assert found == [HEAD]


def schema(tx: Transaction) -> dict[str, object]:
    """Return all that the database tells about its tables, in an order of our own."""
    inspector = inspect(tx)
    return {
        table: {
            "columns": [
                {**column, "type": str(column["type"])} for column in inspector.get_columns(table)
            ],
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": _sorted(inspector.get_foreign_keys(table)),
            "unique": _sorted(inspector.get_unique_constraints(table)),
            "checks": _sorted(inspector.get_check_constraints(table)),
            "indexes": [_plain(index) for index in _sorted(inspector.get_indexes(table))],
        }
        for table in inspector.get_table_names()
        if table != VERSION_TABLE
    }


def _sorted(constraints):
    return sorted(constraints, key=lambda constraint: constraint["name"])


def _plain(index):
    options = {name: str(option) for name, option in index.get("dialect_options", {}).items()}
    return {**index, "dialect_options": options}
