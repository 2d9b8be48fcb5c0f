"""The commands on profiles: list, show, add, remove, default."""

import contextlib
import os
import stat
import sys

import click

from drivebay.cli.app import App, common, complete_profile
from drivebay.cli.connection import (
    Target,
    config_origin,
    config_path,
    parse_token,
    required,
)
from drivebay.cli.output import clean, is_terminal, print_json, print_table
from drivebay.client.errors import LocalFailed, SettingsRefused
from drivebay.client.profiles import (
    Profile,
    checked_name,
    choose_default,
    load_profiles,
    remove_profile,
    store_profile,
)

_TOKEN_LENGTH_MAX = 4096


@click.group()
def profile() -> None:
    """Store services and credentials under names."""


@profile.command("list")
@common()
def list_profiles(app: App) -> None:
    """List the stored profiles.

    \b
    drivebay profile list
    drivebay profile list --json
    """
    profiles = load_profiles(config_path())
    rows = [
        {"name": name, "url": item.url, "user": item.user, "default": name == profiles.default}
        for name, item in sorted(profiles.by_name.items())
    ]
    if app.as_json:
        print_json(rows)
        return
    table = [
        (str(r["name"]), str(r["url"]), str(r["user"]), "*" * bool(r["default"])) for r in rows
    ]
    if table:
        print_table(("NAME", "URL", "USER", "DEFAULT"), table)
    else:
        app.note(f"no profiles in {config_path()}")


@profile.command()
@click.argument("name", required=False, shell_complete=complete_profile)
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.option("--curl", is_flag=True, help="Print user and key as a configuration of curl.")
@common()
def show(app: App, name: str | None, *, origin: bool, curl: bool) -> None:
    """Show which service is called, and as whom.

    \b
    drivebay profile show --origin
    drivebay profile show --curl > curl.conf; curl -K curl.conf URL/drives/list

    Only --curl shows the key.  A file that takes it is closed to everybody but its owner.
    """
    if name is not None:
        app.profile = name
    target = app.target()
    if curl:
        if origin or app.as_json:
            raise click.UsageError("--curl goes with neither --origin nor --json")
        _print_curl(required(target))
        return
    key = "set" if target.key else "not set"
    rows = [
        ("url", target.url, target.url_origin),
        ("user", target.user, target.token_origin),
        ("key", key, target.token_origin),
        ("profile", target.profile, target.profile_origin),
        ("config", str(config_path()), config_origin()),
    ]
    if app.as_json:
        values = {
            what: {"value": value, "origin": where} if origin else value
            for what, value, where in rows
        }
        print_json(values)
        return
    headers = ("SETTING", "VALUE", "ORIGIN")
    print_table(headers[: 2 + origin], [row[: 2 + origin] for row in rows])


@profile.command()
@click.argument("name")
@click.option("--user", metavar="UUID", help="The user, when stdin holds the key alone.")
@common()
def add(app: App, name: str, user: str | None) -> None:
    """Store a profile; reads UUID:KEY from stdin, or asks for it.

    \b
    drivebay profile add work --url https://drives.example.org
    drivebay user add alice | drivebay profile add alice

    A profile of that name for another service or user is kept under a new name.
    """
    checked_name(name)
    url = app.target().url
    stored = _given_profile(url, user)
    moved = store_profile(config_path(), name, stored.url, stored.user, stored.key)
    app.note(f"stored profile {name} for {url} in {config_path()}")
    if moved:
        app.note(f"the profile that had this name is now called {moved}")
    if app.as_json:
        print_json({"name": name, "url": stored.url, "user": stored.user, "moved": moved or ""})


@profile.command()
@click.argument("name", shell_complete=complete_profile)
@common()
def remove(app: App, name: str) -> None:
    """Remove a profile and its key.

    \b
    drivebay profile remove work
    drivebay profile remove default-1 --quiet
    """
    remove_profile(config_path(), name)
    app.note(f"removed profile {name}")
    if app.as_json:
        print_json({"name": name})


@profile.command()
@click.argument("name", shell_complete=complete_profile)
@common()
def default(app: App, name: str) -> None:
    """Make a profile the one that is used when none is named.

    \b
    drivebay profile default work
    drivebay profile default default
    """
    choose_default(config_path(), name)
    app.note(f"profile {name} is the default now")
    if app.as_json:
        print_json({"name": name})


def _print_curl(target: Target) -> None:
    """Print what `curl -K` reads; the address is a comment, as curl would call it once more."""
    fd = sys.stdout.fileno()
    if stat.S_ISREG(os.fstat(fd).st_mode):
        with contextlib.suppress(OSError):  # Somebody else's file, which its owner has opened.
            os.fchmod(fd, 0o600)
    quoted = f"{target.user}:{target.key}".replace("\\", "\\\\").replace('"', '\\"')
    click.echo(f'# {clean(target.url)}\nuser = "{quoted}"')


def _given_profile(url: str, user: str | None) -> Profile:
    if is_terminal(sys.stdin):
        what = "Key" if user else "UUID:KEY"
        text = click.prompt(what, hide_input=True, err=True)
    else:
        text = sys.stdin.readline(_TOKEN_LENGTH_MAX)
    text = text.strip()
    if not text:
        raise LocalFailed(reason="no credentials came on stdin")
    given_user, key = parse_token(text if ":" in text or not user else f"{user}:{text}", "stdin")
    if user is not None and user != given_user:
        raise SettingsRefused(reason=f"stdin holds the credentials of {given_user}, not of {user}")
    return Profile(url, given_user, key)
