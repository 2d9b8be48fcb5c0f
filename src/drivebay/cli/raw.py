"""The command `api`: any call, as it is."""

import sys
from collections.abc import Sequence

import click

from drivebay import wire
from drivebay.cli.app import App, common
from drivebay.cli.files import opened_input, stdout_fd
from drivebay.cli.output import clean, is_terminal
from drivebay.client.errors import LocalFailed
from drivebay.client.transport import Reply
from drivebay.units import MIB
from drivebay.wire import Record

# A body is sent in one piece from memory; longer ones are what `upload` is for.
_BODY_BYTES_MAX = 64 * MIB


@click.command()
@click.argument("method", metavar="METHOD")
@click.argument("path", metavar="PATH")
@click.argument("fields", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--input", "body_file", metavar="FILE", help="Send FILE, or stdin (-), as body.")
@click.option("-i", "--include", is_flag=True, help="Print status and headers first.")
@common()
def api(
    app: App,
    method: str,
    path: str,
    fields: Sequence[str],
    body_file: str | None,
    *,
    include: bool,
) -> None:
    """Make one call to the service and print the answer's body.

    \b
    drivebay api GET /drives/info/full --json
    drivebay api POST /drives/create name=web size=10G

    KEY=VALUE pairs are sent as KEY VALUE lines.  --json asks for JSON.
    """
    if fields and body_file:
        raise click.UsageError("give KEY=VALUE pairs or --input, not both")
    if not path.startswith("/"):
        path = f"/{path}"
    if " " in path or not path.isprintable() or not method.isalpha():
        raise click.UsageError("METHOD is one word such as GET, PATH one such as /drives/list")
    body = _body(fields, body_file)
    headers = {"Content-Type": "application/octet-stream" if body_file else "text/plain"}
    if app.as_json:
        headers["Accept"] = "application/json"
    with app.session(retries=0) as session:
        reply = session.call(method.upper(), path, body, headers)
    if include:
        click.echo(f"HTTP {reply.status}")
        for name, value in reply.headers.items():
            click.echo(clean(f"{name}: {value}"))
        click.echo()
    _print_body(reply)


def _body(fields: Sequence[str], body_file: str | None) -> bytes:
    if body_file is not None:
        with opened_input(body_file) as given, open(given.fd, "rb", closefd=False) as file:
            body = file.read(_BODY_BYTES_MAX + 1)
        if len(body) > _BODY_BYTES_MAX:
            raise LocalFailed(reason=f"{given.name} is longer than {_BODY_BYTES_MAX} bytes")
        return body
    record: Record = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not (key and equals):
            raise click.UsageError(f"{field!r} is not KEY=VALUE")
        record[key] = value
    return wire.format_text([record]) if record else b""


def _print_body(reply: Reply) -> None:
    kind = reply.headers.get("Content-Type", "")
    if is_terminal(sys.stdout) and not kind.startswith("application/octet-stream"):
        for line in reply.body.decode("utf-8", "replace").splitlines():
            click.echo(clean(line))
        return
    stdout_fd()
    sys.stdout.buffer.write(reply.body)
    sys.stdout.buffer.flush()
