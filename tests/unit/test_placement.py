"""Which store a new drive goes to."""

from dataclasses import dataclass
from uuid import uuid4

import pytest

from contract.rows import add_drive, add_user
from drivebay.catalog import Catalog, sqlite_url
from drivebay.errors import InvalidInput, NoStoreLeft
from drivebay.model import DriveState
from drivebay.service import placement
from drivebay.storage.memory import MemoryStore


@dataclass
class Part:
    """As much of a context as placement looks at."""

    stores: dict[str, MemoryStore]


class Unplugged(MemoryStore):
    def is_reachable(self) -> bool:
        return False


def stores(*made: MemoryStore) -> Part:
    return Part({store.name: store for store in made})


@pytest.fixture
def ctx():
    """Three stores on two shelves; the roomiest on each is b, then c."""
    return stores(
        MemoryStore("a", "shelf-1", capacity=100),
        MemoryStore("b", "shelf-1", capacity=300),
        MemoryStore("c", "shelf-2", capacity=200),
    )


@pytest.fixture
def catalog(tmp_path):
    made = Catalog(sqlite_url(tmp_path / "catalog.sqlite"))
    made.migrate()
    yield made
    made.close()


class TestChoosing:
    @pytest.mark.parametrize(
        ("avoided", "chosen"),
        [([], "b"), (["shelf-1"], "c"), (["shelf-2"], "b"), (["shelf-3"], "b")],
    )
    def test_the_roomiest_store_outside_the_avoided_domains_is_taken(self, ctx, avoided, chosen):
        assert placement.choose(ctx, avoided).name == chosen

    def test_room_that_is_taken_counts(self):
        ctx = stores(
            MemoryStore("a", "a", capacity=10 * 4096), MemoryStore("b", "b", capacity=9 * 4096)
        )
        uuid = uuid4()
        ctx.stores["a"].create(uuid, 8192)
        with ctx.stores["a"].open(uuid) as volume:
            volume.pwrite(0, memoryview(bytearray(b"x" * 8192)))

        assert placement.choose(ctx, []).name == "b"

    def test_a_store_that_cannot_be_reached_is_never_taken(self):
        ctx = stores(Unplugged("a", "a", capacity=999), MemoryStore("b", "b", capacity=1))

        assert placement.choose(ctx, []).name == "b"
        with pytest.raises(NoStoreLeft, match="outside the failure domains to avoid: b"):
            placement.choose(ctx, ["b"])

    def test_when_none_is_left_the_avoided_domains_are_named(self, ctx):
        with pytest.raises(NoStoreLeft, match="to avoid: shelf-1, shelf-2"):
            placement.choose(ctx, ["shelf-2", "shelf-1"])

    def test_without_a_store_in_reach_it_is_told(self):
        with pytest.raises(NoStoreLeft, match="no store is reachable"):
            placement.choose(stores(Unplugged("a", "a")), [])


class TestDomains:
    def test_drives_lie_in_the_domains_of_their_stores(self, ctx, catalog):
        with catalog.write() as tx:
            owner, other = add_user(tx), add_user(tx)
            mine = [add_drive(tx, owner.uuid, store=name) for name in ("a", "b", "gone")]
            shared = add_drive(tx, other.uuid, store="c", readers=(str(owner.uuid),))

            def domains(*drives) -> set[str]:
                uuids = [drive.uuid for drive in drives]
                return placement.domains_of(ctx, tx, owner.uuid, uuids)

            assert domains() == set()
            assert domains(mine[0], mine[1]) == {"shelf-1"}
            assert domains(mine[0], shared) == {"shelf-1", "shelf-2"}
            # Nothing new can be placed where no store is configured.
            assert domains(mine[2]) == set()

    def test_a_drive_that_the_caller_may_not_see_is_refused_like_one_that_is_not_there(
        self, ctx, catalog
    ):
        with catalog.write() as tx:
            owner, other = add_user(tx), add_user(tx)
            foreign = add_drive(tx, other.uuid, store="a")
            leaving = add_drive(tx, owner.uuid, store="a", state=DriveState.DESTROYING)

            for uuid in (foreign.uuid, leaving.uuid, uuid4()):
                with pytest.raises(InvalidInput) as refusal:
                    placement.domains_of(ctx, tx, owner.uuid, [uuid])
                assert str(refusal.value) == f"avoid: drive {uuid} not found"
