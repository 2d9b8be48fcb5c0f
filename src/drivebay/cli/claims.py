"""The commands on claims: attach and detach for one drive's servers, claims for all drives'."""

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click

from drivebay.cli.app import App, Command, common
from drivebay.cli.naming import DRIVE, find_uuid, label
from drivebay.cli.output import is_terminal, print_json, print_table
from drivebay.client.errors import Conflict, NotFound
from drivebay.client.machine import server_uuid
from drivebay.client.session import Session
from drivebay.units import format_size
from drivebay.wire import Record, parse_uuid

# qemu takes no certificates from a URI; its user makes an object of them, by this name.
_TLS_OBJECT = "tls0"

_TLS_OPTION = f"-object tls-creds-x509,id={_TLS_OBJECT},endpoint=client,dir=DIR"

# Stands for a drive that the user may not know of; servers are always named to the owner.
_UNNAMED = "00000000-0000-0000-0000-000000000000"


class ServerUuid(click.ParamType[str]):
    """A server as the API names it."""

    name = "server"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the uuid in its one form."""
        try:
            return str(parse_uuid(str(value).lower()))
        except ValueError as error:
            self.fail(f"{value!r} is {error}", param, ctx)


def _server_option(function: Command) -> Command:
    return click.option(
        "--server",
        metavar="UUID",
        type=ServerUuid(),
        help="The server, by a uuid that you choose.  [default: this machine]",
    )(function)


@dataclass(frozen=True)
class _Attached:
    """A claim that was just made."""

    record: Record
    server: str
    detaching: str
    """The command that ends it."""

    @property
    def uri(self) -> str:
        return str(self.record["nbd"])

    @property
    def may_write(self) -> bool:
        return self.record.get("claim:access") != "read"

    @property
    def has_tls(self) -> bool:
        return urlsplit(self.uri).scheme == "nbds"

    @property
    def socket(self) -> str:
        """The path of the unix socket, if it is one."""
        return parse_qs(urlsplit(self.uri).query).get("socket", [""])[0]

    def qemu_drive(self) -> str:
        """Return the value of qemu's option -drive; there is no blank in it."""
        parts = [f"file={self.uri}"]
        if self.has_tls:
            # qemu knows no nbds URIs.
            place = urlsplit(self.uri)
            parts = [
                "file.driver=nbd",
                f"file.host={place.hostname}",
                f"file.port={place.port or 10809}",
                f"file.export={place.path[1:]}",
                f"file.tls-creds={_TLS_OBJECT}",
            ]
        parts += ["format=raw", "if=virtio", "cache=none", "discard=unmap"]
        if not self.may_write:
            parts.append("readonly=on")
        # A comma ends a value, unless there are two of them.
        return ",".join(part.replace(",", ",,") for part in parts)


@click.command()
@click.argument("drive", type=DRIVE)
@_server_option
@click.option("--read-only", is_flag=True, help="Let the server read and nothing else.")
@click.option("--qemu", is_flag=True, help="Print it as an option of qemu-system-x86_64.")
@common()
def attach(app: App, drive: str, server: str | None, *, read_only: bool, qemu: bool) -> None:
    """Let a server use a drive over NBD, and print its URI.

    \b
    drivebay attach web
    qemu-system-x86_64 -m 1G $(drivebay attach --qemu web)

    The URI holds a ticket, which is shown this once; whoever has it can use the drive until it is
    detached.  To attach a drive again makes a new ticket, and ends the connections that were there.
    """
    if qemu and app.as_json:
        raise click.UsageError("--qemu and --json contradict each other")
    words = ["drivebay", "detach", drive, *(["--server", server] if server else [])]
    detaching = shlex.join([*words, *app.same_service()])
    server = server or str(server_uuid())
    with app.session() as session:
        uuid = find_uuid(session, drive, standard=True)
        try:
            record = session.claim(uuid, server, access="read" if read_only else "")
        except Conflict as busy:
            busy.hint = busy.hint or "'drivebay claims' shows which servers hold your drives"
            raise
    attached = _Attached(record, server, detaching)
    if app.as_json:
        print_json(record)
    else:
        click.echo(f"-drive {attached.qemu_drive()}" if qemu else attached.uri)
        for line in _explained(attached, in_full=is_terminal(sys.stdout) and not qemu):
            app.note(line)
    if attached.socket and not os.path.exists(attached.socket):  # noqa: PTH110 - never raises
        app.warn(
            f"the socket {attached.socket} is out of reach from here: only the service's own"
            " user, on its machine, gets to it unless the service names another place for it"
        )


def _explained(attached: _Attached, *, in_full: bool) -> Iterator[str]:
    """Yield what a person should know of the claim, and in full what can be done with it."""
    record = attached.record
    size, how = format_size(int(record["size"])), "writing" if attached.may_write else "reading"
    if in_full:
        yield ""
    yield f"attached {label(record)}, {size}, to server {attached.server} for {how}"
    yield "the ticket in the URI is shown this once; whoever has it can use the drive"
    yield "to attach it again makes a new ticket and ends the connections that are there then"
    if not in_full:
        if attached.has_tls:
            yield f"qemu needs this too: {_TLS_OPTION} (DIR holds ca-cert.pem)"
        return
    uri = shlex.quote(attached.uri)
    machine = "qemu-system-x86_64 -m 1G"
    if attached.has_tls:
        machine += f" {_TLS_OPTION}"
    yield ""
    yield "a virtual machine that starts from it:"
    yield f"  {machine} -drive {shlex.quote(attached.qemu_drive())}"
    yield "what is there, and a copy of it:"
    yield f"  nbdinfo {uri}"
    yield f"  nbdcopy {uri} drive.img"
    yield "when the server is done with it:"
    yield f"  {attached.detaching}"


@click.command()
@click.argument("drive", type=DRIVE)
@_server_option
@common()
def detach(app: App, drive: str, server: str | None) -> None:
    """End a server's use of a drive.

    \b
    drivebay detach web
    drivebay detach web --server 5b4c2f6e-3f0a-4c0e-9b53-0f8c8a0f7a11

    Its connections are closed when this returns, and its ticket opens nothing any more.
    """
    server = server or str(server_uuid())
    with app.session() as session:
        record = session.info(find_uuid(session, drive, standard=True))
        uuid, named = str(record["drive"]), label(record)
        try:
            session.release(uuid, server)
        except NotFound as missing:
            raise NotFound(
                status=missing.status,
                word=missing.word,
                message=f"server {server} does not hold {named}, or not by a claim of yours",
                hint="'drivebay claims' shows which servers hold your drives",
            ) from missing
    app.note(f"detached {named} from server {server}")
    if app.as_json:
        print_json({"drive": uuid, "name": record.get("name", ""), "server": server})


@click.command()
@common()
def claims(app: App) -> None:
    """List your drives that servers hold.

    \b
    drivebay claims
    drivebay claims --json

    One line for each claim.  In a pipe it is the drive's uuid and name, exclusive or shared, and
    the server's uuid, with tabs between them.
    """
    with app.session() as session:
        found = list(_held(session))
    if app.as_json:
        print_json(found)
        return
    rows = [(row["drive"], row["name"], row["claim:type"], row["server"]) for row in found]
    if rows:
        print_table(("DRIVE", "NAME", "TYPE", "SERVER"), rows)
    else:
        app.note("no server holds a drive of yours; 'drivebay attach DRIVE' lets one use it")


def _held(session: Session) -> Iterator[dict[str, str]]:
    """Yield each claim of a server on a drive of the user's, by the drive's name."""
    records = session.infos()
    # During imaging the other drive holds the one.
    drives = {str(record["drive"]) for record in records} | {_UNNAMED}
    for record in sorted(records, key=lambda one: (str(one.get("name", "")), str(one["drive"]))):
        for holder in str(record.get("claimed", "")).split():
            if holder not in drives:
                yield {
                    "drive": str(record["drive"]),
                    "name": str(record.get("name", "")),
                    "claim:type": str(record.get("claim:type", "exclusive")),
                    "server": holder,
                }
