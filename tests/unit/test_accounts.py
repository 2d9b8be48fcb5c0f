"""Users: how they prove who they are."""

from uuid import uuid4

import pytest

from drivebay import folder
from drivebay.catalog import Rows, users
from drivebay.errors import NotAuthenticated, SetupFailed
from drivebay.service import accounts
from drivebay.service.accounts import Authenticator


@pytest.fixture
def catalog(tmp_path):
    folder.prepare(tmp_path)
    made = folder.catalog_of(tmp_path)
    yield made
    made.close()


def add(catalog, name="", **quota):
    with catalog.write() as tx:
        return accounts.add(tx, name, **{"drives": None, "size_bytes": None, **quota})


def test_a_user_is_known_by_uuid_and_key(catalog):
    user, key = add(catalog, "web", drives=5, size_bytes=2**63 - 1)

    assert Authenticator(catalog, Rows(catalog)).user(user.uuid, key) == user
    assert (user.name, user.quota_drives, user.quota_bytes) == ("web", 5, 2**63 - 1)


def test_every_other_uuid_or_key_is_refused_alike(catalog):
    (one, key), (other, other_key) = add(catalog), add(catalog)
    authenticator = Authenticator(catalog, Rows(catalog))

    for uuid, given in [
        (one.uuid, other_key),
        (other.uuid, key),
        (one.uuid, ""),
        (one.uuid, key + "x"),
        (one.uuid, key[:-1]),
        (one.uuid, key.swapcase()),
        (one.uuid, one.key_hash.hex()),
        (one.uuid, "größe"),
        (uuid4(), key),
        (None, key),
        (None, ""),
    ]:
        with pytest.raises(NotAuthenticated) as refusal:
            authenticator.user(uuid, given)
        assert str(refusal.value) == str(NotAuthenticated())


def test_the_key_is_kept_nowhere(catalog, tmp_path):
    _, key = add(catalog)

    for entry in tmp_path.rglob("*"):
        assert entry.is_dir() or key.encode() not in entry.read_bytes()


def test_a_disabled_user_is_refused_at_once_and_comes_back(catalog):
    user, key = add(catalog)
    authenticator = Authenticator(catalog, Rows(catalog))
    authenticator.user(user.uuid, key)

    for enabled in (False, True):
        with catalog.write() as tx:
            users.change(tx, user.uuid, enabled=enabled)
        if enabled:
            assert authenticator.user(user.uuid, key) == user
        else:
            with pytest.raises(NotAuthenticated):
                authenticator.user(user.uuid, key)


def test_a_new_key_takes_the_place_of_the_old_at_once(catalog):
    user, key = add(catalog)
    authenticator = Authenticator(catalog, Rows(catalog))
    authenticator.user(user.uuid, key)

    with catalog.write() as tx:
        new = accounts.rotate_key(tx, user)

    assert new != key
    assert authenticator.user(user.uuid, new).uuid == user.uuid
    with pytest.raises(NotAuthenticated):
        authenticator.user(user.uuid, key)


def test_an_operator_names_a_user_by_name_or_uuid(catalog):
    user, _ = add(catalog, "web")

    with catalog.read() as tx:
        assert accounts.named(tx, "web") == accounts.named(tx, str(user.uuid)) == user
        with pytest.raises(SetupFailed, match="there is no user nobody"):
            accounts.named(tx, "nobody")
