"""The catalog's transactions: whole or not at all, apart from each other, from everywhere."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.rows import add_drive, add_user
from drivebay.catalog import Catalog, drives, facts, users
from drivebay.catalog.engine import CONNECTIONS_MAX
from drivebay.errors import CatalogFailed

LONG_S = 60
"""Longer than anything here takes: a guard against a hang."""

CHILD = Path(__file__).with_name("catalog_child.py")


def child(url: str, verb: str, *words: str) -> "subprocess.Popen[str]":
    """Start a process that works with the same catalog."""
    return subprocess.Popen(
        [sys.executable, str(CHILD), url, verb, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def value(catalog: Catalog, key: str) -> str | None:
    with catalog.read() as tx:
        return facts.get(tx, key)


class Transactions:
    @pytest.fixture
    def in_threads(self):
        """Run a function in several threads that begin together; return what they return."""

        def run(function, *, count: int):
            together = threading.Barrier(count, timeout=LONG_S)

            def begin():
                together.wait()
                return function()

            with ThreadPoolExecutor(count) as pool:
                begun = [pool.submit(begin) for _ in range(count)]
                return [one.result(LONG_S) for one in begun]

        return run

    def test_an_exception_undoes_the_transaction_and_goes_on(self, catalog: Catalog):
        def paint_and_fail() -> None:
            with catalog.write() as tx:
                facts.put(tx, "colour", "blue")
                raise KeyError

        with pytest.raises(KeyError):
            paint_and_fail()

        assert value(catalog, "colour") is None
        with catalog.write() as tx:
            facts.put(tx, "colour", "red")
        assert value(catalog, "colour") == "red"

    def test_a_refused_statement_undoes_the_whole_transaction(self, catalog: Catalog):
        def paint_and_be_refused() -> None:
            with catalog.write() as tx:
                facts.put(tx, "colour", "blue")
                add_drive(tx, add_user(tx).uuid, size=0)

        with pytest.raises(CatalogFailed) as failure:
            paint_and_be_refused()

        assert failure.value.__cause__ is not None
        assert str(failure.value) == "the catalog failed; the change was not made"
        assert value(catalog, "colour") is None

    def test_nobody_sees_a_transaction_that_is_underway(self, catalog: Catalog, url: str):
        other = Catalog(url)
        with catalog.write() as tx:
            facts.put(tx, "colour", "blue")
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(value, catalog, "colour").result(LONG_S) is None
            assert value(other, "colour") is None

        assert value(other, "colour") == "blue"
        other.close()

    def test_a_reader_sees_one_moment(self, catalog: Catalog):
        with catalog.write() as tx:
            facts.put(tx, "colour", "blue")

        def repaint() -> None:
            with catalog.write() as tx:
                facts.put(tx, "colour", "red")

        with ThreadPoolExecutor(1) as pool:
            with catalog.read() as tx:
                assert facts.get(tx, "colour") == "blue"
                repainted = pool.submit(repaint)
                for _ in range(100):
                    assert facts.get(tx, "colour") == "blue"
            repainted.result(LONG_S)

        assert value(catalog, "colour") == "red"

    def test_readers_read_beside_each_other(self, catalog: Catalog, in_threads):
        """As many as there are connections, and one more, who waits for his turn."""
        inside = threading.Barrier(CONNECTIONS_MAX, timeout=LONG_S)

        def read_together() -> str | None:
            with catalog.read() as tx:
                inside.wait()
                return facts.get(tx, "colour")

        assert in_threads(read_together, count=CONNECTIONS_MAX) == [None] * CONNECTIONS_MAX
        assert in_threads(lambda: value(catalog, "x"), count=CONNECTIONS_MAX + 5) == [None] * (
            CONNECTIONS_MAX + 5
        )

    def test_who_locks_the_user_loses_no_change(self, catalog: Catalog, in_threads):
        with catalog.write() as tx:
            user = add_user(tx, quota_drives=0)

        def add_up() -> None:
            for _ in range(10):
                with catalog.write() as tx:
                    users.lock(tx, user.uuid)
                    found = users.get(tx, user.uuid)
                    users.change(tx, user.uuid, quota_drives=found.quota_drives + 1)

        in_threads(add_up, count=4)

        with catalog.read() as tx:
            assert users.get(tx, user.uuid).quota_drives == 40

    def test_processes_keep_a_quota_together(self, catalog: Catalog, url: str):
        with catalog.write() as tx:
            user = add_user(tx, quota_drives=25)

        children = [child(url, "fill", str(user.uuid)) for _ in range(3)]
        made = [int(one.communicate(timeout=LONG_S)[0]) for one in children]

        with catalog.read() as tx:
            found = drives.owned(tx, user.uuid)
        assert len(found) == 25 == sum(made)
        assert len({drive.id for drive in found}) == 25

    def test_a_process_that_is_killed_leaves_nothing_half_done(self, catalog: Catalog, url: str):
        with child(url, "linger", "colour", "blue") as lingering:
            assert lingering.stdout.readline() == "written\n"
            assert value(catalog, "colour") is None
            lingering.kill()

        with catalog.write() as tx:
            assert facts.get(tx, "colour") is None
            facts.put(tx, "colour", "red")
        assert value(catalog, "colour") == "red"

    def test_a_closed_catalog_opens_again_when_it_is_needed(self, catalog: Catalog):
        with catalog.write() as tx:
            facts.put(tx, "colour", "blue")
        catalog.close()
        catalog.close()

        assert value(catalog, "colour") == "blue"
