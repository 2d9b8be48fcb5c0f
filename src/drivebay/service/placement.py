"""Which store a new drive goes to."""

from collections.abc import Iterable
from uuid import UUID

from drivebay.catalog import Transaction
from drivebay.catalog import drives as drive_rows
from drivebay.errors import DriveNotFound, InvalidInput, NoStoreLeft
from drivebay.service import access
from drivebay.service.context import Context
from drivebay.storage.volume import Store


def choose(ctx: Context, domains_to_avoid: Iterable[str]) -> Store:
    """Return the reachable store with the most free room outside *domains_to_avoid*.

    Raises:
        NoStoreLeft: there is none.
    """
    avoided = set(domains_to_avoid)
    left = [
        store
        for store in ctx.stores.values()
        if store.domain not in avoided and store.is_reachable()
    ]
    if not left and avoided:
        names = ", ".join(sorted(avoided))
        raise NoStoreLeft(reason=f"no store lies outside the failure domains to avoid: {names}")
    if not left:
        raise NoStoreLeft
    return max(left, key=lambda store: store.free())


def domains_of(ctx: Context, tx: Transaction, caller: UUID, drives: Iterable[UUID]) -> set[str]:
    """Return the failure domains that *drives* lie in.

    Raises:
        InvalidInput: the caller may not see one of them, or there is no such drive.
    """
    domains = set()
    for uuid in drives:
        try:
            drive = access.readable(drive_rows.get(tx, uuid), caller, uuid)
        except DriveNotFound as error:
            raise InvalidInput(reason=f"avoid: drive {uuid} not found") from error
        # A store that the configuration no longer names is a domain of its own: nothing new can
        # be placed there.
        if (store := ctx.stores.get(drive.store)) is not None:
            domains.add(store.domain)
    return domains
