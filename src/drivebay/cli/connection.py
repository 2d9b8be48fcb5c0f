"""Which service, and who is calling: flag, then environment, then profile, then default."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drivebay.client.errors import NoCredentials, SettingsRefused
from drivebay.client.profiles import Profile, Profiles, load_profiles
from drivebay.client.transport import checked_url
from drivebay.settings import client_config_file

DEFAULT_URL = "http://127.0.0.1:8080"

_CONFIG_VARIABLES = ("DRIVEBAY_CONFIG", "XDG_CONFIG_HOME")
_TOKEN_BYTES_MAX = 4096
_TOKEN_COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where calls go and as whom, with the place that each came from."""

    url: str
    url_origin: str
    user: str = ""
    key: str = field(default="", repr=False)
    token_origin: str = ""
    profile: str = ""
    profile_origin: str = ""


def config_path() -> Path:
    """Return the file that holds the profiles."""
    return client_config_file()


def config_origin() -> str:
    """Return what says that it is this file."""
    return next((name for name in _CONFIG_VARIABLES if os.environ.get(name)), "default")


def resolve(profile: str | None, url: str | None) -> Target:
    """Return the target that the flags --profile and --url, the environment and the file name.

    A profile that was named by a flag outranks the environment's address and credentials: both
    come from it, so that no key reaches a service that it was not made for.

    Raises:
        SettingsRefused: something that was named is not there or cannot be used.
    """
    environ: Mapping[str, str] = os.environ
    profiles = load_profiles(config_path())
    name, name_origin = _profile_name(profile, environ, profiles)
    chosen = profiles.by_name.get(name)
    if chosen is None and name_origin != "default":
        known = ", ".join(sorted(profiles.by_name)) or "none"
        raise SettingsRefused(
            reason=f"there is no profile {name!r} (from {name_origin})",
            hint=f"the profiles in {config_path()}: {known}",
        )
    where = f"profile {name}"
    if profile is not None:
        environ = {}
    address, address_origin = _url(url, environ, chosen, where)
    # Before anything shows it: it may hold a password by mistake.
    address = checked_url(address)
    user, key, token_origin = _token(environ, chosen, where)
    return Target(
        url=address,
        url_origin=address_origin,
        user=user,
        key=key,
        token_origin=token_origin,
        profile=name if chosen else "",
        profile_origin=name_origin if chosen else "",
    )


def required(target: Target) -> Target:
    """Return *target* when it has credentials.

    Raises:
        NoCredentials: it has none.
    """
    if target.user and target.key:
        return target
    raise NoCredentials(
        reason=f"nothing says who is calling {target.url}",
        hint="set DRIVEBAY_TOKEN to UUID:KEY, or store a profile with 'drivebay profile add'",
    )


def parse_token(text: str, origin: str) -> tuple[str, str]:
    """Return user and key of ``UUID:KEY``.

    Raises:
        SettingsRefused: *text* has another form.  It is a secret, so the message does not show it.
    """
    user, colon, key = text.strip().partition(":")
    if not (user and colon and key and text.strip().isprintable() and " " not in text.strip()):
        raise SettingsRefused(reason=f"{origin} does not hold a token of the form UUID:KEY")
    return user, key


def _profile_name(
    flag: str | None, environ: Mapping[str, str], profiles: Profiles
) -> tuple[str, str]:
    if flag is not None:
        return flag, "--profile"
    if environ.get("DRIVEBAY_PROFILE"):
        return environ["DRIVEBAY_PROFILE"], "DRIVEBAY_PROFILE"
    return profiles.default, "default"


def _url(
    flag: str | None, environ: Mapping[str, str], profile: Profile | None, where: str
) -> tuple[str, str]:
    if flag is not None:
        return flag, "--url"
    for variable in ("DRIVEBAY_URL", "EHURI"):
        if environ.get(variable):
            return environ[variable], variable
    if profile is not None and profile.url:
        return profile.url, where
    return DEFAULT_URL, "default"


def _token(environ: Mapping[str, str], profile: Profile | None, where: str) -> tuple[str, str, str]:
    for variable in ("DRIVEBAY_TOKEN", "DRIVEBAY_TOKEN_FILE", "DRIVEBAY_TOKEN_COMMAND", "EHAUTH"):
        value = environ.get(variable)
        if not value:
            continue
        if variable.endswith("_FILE"):
            value = _first_line(Path(value))
        elif variable.endswith("_COMMAND"):
            value = _output_of(value)
        return *parse_token(value, variable), variable
    if profile is not None:
        return profile.user, profile.key, where
    return "", "", ""


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(_TOKEN_BYTES_MAX)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"DRIVEBAY_TOKEN_FILE {path} cannot be read: {error}"
        raise SettingsRefused(reason=reason) from error


def _output_of(command: str) -> str:
    try:
        # The user's own words from the user's own environment; no shell takes them apart.
        done = subprocess.run(  # noqa: S603
            shlex.split(command),
            stdout=subprocess.PIPE,
            timeout=_TOKEN_COMMAND_TIMEOUT_S,
            check=True,
            text=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = f"DRIVEBAY_TOKEN_COMMAND gave no token: {error}"
        raise SettingsRefused(reason=reason) from error
    return done.stdout[:_TOKEN_BYTES_MAX]
