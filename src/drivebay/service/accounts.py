"""Users: who they are, how they prove it, how much they may have."""

from uuid import UUID, uuid4

from drivebay import keys
from drivebay.catalog import Catalog, Rows, Transaction, facts
from drivebay.catalog import users as rows
from drivebay.errors import NotAuthenticated, SetupFailed
from drivebay.model import User

PEPPER_FACT = "api-key-pepper"


class Authenticator:
    """Checks credentials against the catalog.

    An unknown user costs the same hash and the same comparison as a known one.
    """

    def __init__(self, catalog: Catalog, rows: Rows) -> None:
        """Check against *catalog* and its *rows*; its pepper is read at the first call."""
        self._catalog = catalog
        self._rows = rows
        self._pepper: bytes | None = None

    def user(self, uuid: UUID | None, key: str) -> User:
        """Return the user whose credentials these are.

        Raises:
            NotAuthenticated: there is no such user, the key is wrong or the user is disabled.
        """
        if self._pepper is None:
            with self._catalog.read() as tx:
                self._pepper = pepper(tx)
        user = None if uuid is None else self._rows.user(uuid)
        return _checked(user, key, self._pepper)

    def user_now(self, uuid: UUID | None, key: str) -> User | None:
        """Do as `user`, or return None where that would take a transaction."""
        user = None if uuid is None else self._rows.kept_user(uuid)
        if user is None or self._pepper is None:
            return None
        return _checked(user, key, self._pepper)


def _checked(user: User | None, key: str, pepper: bytes) -> User:
    expected = user.key_hash if user is not None else bytes(32)
    matches = keys.api_key_matches(pepper, key, expected)
    if user is None or not matches or not user.enabled:
        raise NotAuthenticated
    return user


def pepper(tx: Transaction) -> bytes:
    """Return the secret that API keys are hashed with."""
    text = facts.get(tx, PEPPER_FACT)
    if text is None:
        raise SetupFailed(reason="the data folder is not set up")
    return bytes.fromhex(text)


def add(
    tx: Transaction, name: str, *, drives: int | None, size_bytes: int | None
) -> tuple[User, str]:
    """Make a user and return it with its API key, which is kept nowhere else."""
    key = keys.make_api_key()
    user = User(
        uuid=uuid4(),
        name=name,
        key_hash=keys.hash_api_key(pepper(tx), key),
        quota_drives=drives,
        quota_bytes=size_bytes,
    )
    rows.insert(tx, user)
    return user, key


def rotate_key(tx: Transaction, user: User) -> str:
    """Give the user a new API key and return it; the old one is refused from now on."""
    key = keys.make_api_key()
    rows.change(tx, user.uuid, key_hash=keys.hash_api_key(pepper(tx), key))
    return key


def named(tx: Transaction, name_or_uuid: str) -> User:
    """Return the user of that uuid or name.

    Raises:
        SetupFailed: there is none.
    """
    user = rows.find(tx, name_or_uuid)
    if user is None:
        raise SetupFailed(reason=f"there is no user {name_or_uuid}")
    return user
