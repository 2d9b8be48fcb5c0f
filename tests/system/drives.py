"""What tests of imaging do with drives over HTTP, again and again."""

from uuid import UUID

from drivebay import folder
from drivebay.catalog import jobs
from drivebay.units import MIB
from live import Credentials, Server
from system.waiting import wait_until


def made(server: Server, user: Credentials, content: bytes, *, text: str = "") -> str:
    """Make a drive that holds *content*, as large as that unless *text* says more."""
    drive = server.create(f"size {len(content)}\n{text}", user=user)
    answer = server.api("POST", f"/drives/{drive}/write", content, user=user)
    assert answer.status == 204, answer
    return drive


def content_of(server: Server, user: Credentials, drive: str) -> bytes:
    """Return all of the drive's bytes."""
    size = int(info_of(server, user, drive)["size"])
    parts = []
    for offset in range(0, size, 4 * MIB):
        path = f"/drives/{drive}/read/{offset}/{min(4 * MIB, size - offset)}"
        answer = server.api("GET", path, user=user)
        assert answer.status == 200, answer
        parts.append(answer.body)
    return b"".join(parts)


def info_of(server: Server, user: Credentials, drive: str) -> dict[str, str]:
    return server.api("GET", f"/drives/{drive}/info/full", user=user).record


def image(server: Server, user: Credentials, drive: str, source: str, conversion: str = "") -> None:
    """Begin imaging of *drive* from *source*; *conversion* is empty, `/gzip` or `/gunzip`."""
    answer = server.api("POST", f"/drives/{drive}/image/{source}{conversion}", user=user)
    assert answer.status == 204, answer


def wait_for(server: Server, user: Credentials, drive: str, imaging: str | None) -> dict[str, str]:
    """Wait until the drive's `imaging` in `info/full` is that, and return the record."""

    def arrived() -> dict[str, str]:
        info = info_of(server, user, drive)
        return info if info.get("imaging") == imaging else {}

    return wait_until(arrived)


def imaged(
    server: Server, user: Credentials, drive: str, source: str, conversion: str = ""
) -> dict[str, str]:
    """Image to the end, whichever it is, and return the record then."""
    image(server, user, drive, source, conversion)

    def ended() -> dict[str, str]:
        info = info_of(server, user, drive)
        return info if info.get("imaging", "failed") == "failed" else {}

    return wait_until(ended)


def is_being_cancelled(server: Server, drive: str) -> bool:
    """Whether somebody has asked the imaging onto *drive* to end."""
    catalog = folder.catalog_of(server.data)
    try:
        with catalog.read() as tx:
            job = jobs.get(tx, UUID(drive))
    finally:
        catalog.close()
    return job is not None and job.cancelled
