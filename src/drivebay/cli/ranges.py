"""The commands that move a range of a drive: read and write."""

import os
from pathlib import Path

import click

from drivebay.cli.app import App, common
from drivebay.cli.files import check_target, opened_input, stdout_fd
from drivebay.cli.naming import DRIVE, SIZE, find_uuid
from drivebay.cli.output import print_json
from drivebay.client.download import Download
from drivebay.client.errors import ClientError, Interrupted, LocalFailed, TransferFailed
from drivebay.client.pieces import PIECE, packed
from drivebay.client.session import Session
from drivebay.client.transfer import RETRIES


@click.command()
@click.argument("drive", type=DRIVE)
@click.argument("offset", type=SIZE)
@click.argument("length", type=SIZE)
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead of stdout.")
@common()
def read(app: App, drive: str, offset: int, length: int, output: str | None) -> None:
    """Read LENGTH bytes of a drive from OFFSET.

    \b
    drivebay read web 0 512 | xxd
    drivebay read web 1M 64M -o part.img

    Both numbers are bytes, or have k, M, G or T.  FILE gets its name when it is whole.
    """
    if app.as_json and output is None:
        raise click.UsageError("--json cannot share stdout with the drive's bytes: add --output")
    fd = stdout_fd() if output is None else -1
    if output is not None:
        check_target(Path(output), f"drivebay read {drive} {offset} {length}")
    with app.session(retries=RETRIES) as session:
        uuid = find_uuid(session, drive)
        work = Download(session=session, record={"drive": uuid, "size": offset + length})
        if output is None:
            work.to_stream(fd, offset=offset, length=length)
            return
        _into_file(work, Path(output), offset, length)
    app.note(f"read {length} bytes into {output}")
    if app.as_json:
        print_json({"drive": uuid, "offset": offset, "length": length})


def _into_file(work: Download, target: Path, offset: int, length: int) -> None:
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            work.to_stream(file.fileno(), offset=offset, length=length)
            os.fsync(file.fileno())
        part.rename(target)
    except OSError as error:
        raise LocalFailed(reason=f"cannot write {target}: {error.strerror}") from error


@click.command()
@click.argument("drive", type=DRIVE)
@click.argument("offset", type=SIZE)
@click.argument("file", type=click.Path(allow_dash=True), default="-")
@common()
def write(app: App, drive: str, offset: int, file: str) -> None:
    """Write FILE or stdin onto a drive at OFFSET.

    \b
    drivebay write web 0 boot.bin
    printf hello | drivebay write web 4M

    OFFSET is in bytes, or with k, M, G or T.  Every byte that was told as written is durable.
    """
    with opened_input(file) as given, app.session(retries=RETRIES) as session:
        uuid = find_uuid(session, drive)
        written = _from_fd(session, uuid, offset, given.fd, given.name)
    app.note(f"wrote {written} bytes at {offset}")
    if app.as_json:
        print_json({"drive": uuid, "offset": offset, "length": written})


def _from_fd(session: Session, drive: str, offset: int, fd: int, name: str) -> int:
    position = offset
    try:
        while data := _piece(fd, name, PIECE - position % PIECE):
            member = packed(data)
            session.write(drive, position, member or data, gzip=member is not None)
            position += len(data)
    except KeyboardInterrupt:
        raise Interrupted(hint=_in_place(position - offset)) from None
    except ClientError as error:
        hint = "; ".join(filter(None, [error.hint, _in_place(position - offset)]))
        raise TransferFailed(operation="write", offset=position, hint=hint) from error
    return position - offset


def _piece(fd: int, name: str, length: int) -> bytes:
    """Return the next *length* bytes of *fd*; fewer only at its end."""
    parts = []
    try:
        while length and (part := os.read(fd, length)):
            parts.append(part)
            length -= len(part)
    except OSError as error:
        raise LocalFailed(reason=f"cannot read {name}: {error.strerror}") from error
    return b"".join(parts)


def _in_place(length: int) -> str:
    return f"the first {length} bytes are in place"
