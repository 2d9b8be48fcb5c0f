"""Profiles: named services with credentials, in one TOML file that only its owner may read.

::

    default_profile = "default"

    [profiles.default]
    url = "http://127.0.0.1:8080"
    user = "2164ce57-591c-43ee-ade5-e2fe0ee13c3e"
    key = "..."

Other tables of the file, such as the service's ``[serve]``, are kept and not looked at.
"""

import contextlib
import fcntl
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from drivebay.client.errors import SettingsRefused

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

DEFAULT = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FILE_BYTES_MAX = 1024 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Profile:
    """Where a service is and who is calling."""

    url: str
    user: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Profiles:
    """What the file holds; an absent file holds nothing."""

    default: str = DEFAULT
    by_name: dict[str, Profile] = field(default_factory=dict)


def load_profiles(path: Path) -> Profiles:
    """Return the profiles in *path*.

    Raises:
        SettingsRefused: others may read the keys in it, or it is not what it should be.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            document = tomllib.loads(file.read(_FILE_BYTES_MAX).decode())
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise SettingsRefused(reason=f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsRefused(reason=f"{path} is not TOML: {error}") from error
    tables = document.get("profiles", {})
    if tables and mode & _OTHERS:
        raise SettingsRefused(
            reason=f"{path} holds keys, and others may read it (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}",
        )
    if not isinstance(tables, dict):
        raise SettingsRefused(reason=f"[profiles] in {path} must be a table")
    default = document.get("default_profile", DEFAULT)
    return Profiles(str(default), {name: _profile(path, name, tables[name]) for name in tables})


def store_profile(path: Path, name: str, url: str, user: str, key: str) -> str | None:
    """Write a profile, and return the name under which another one of that *name* is kept.

    A profile for the same *url* and *user* only gets the new *key*; one for another service or
    user is moved to the first free name of NAME-1, NAME-2 and so on.  The file is replaced in one
    step, ends up with mode 0600, and keeps everything else that it holds, comments included.

    Raises:
        SettingsRefused: *name* cannot be one, or the file cannot be read or written.
    """
    checked_name(name)
    with _editing(path) as document:
        tables = _tables(document)
        old = tables.get(name)
        if old is not None and (old.get("url"), old.get("user")) == (url, user):
            old["key"] = key
            return None
        moved = _free_name(tables, name) if old is not None else None
        if moved is not None:
            tables[moved] = tables.pop(name)
        tables[name] = {"url": url, "user": user, "key": key}
        return moved


def remove_profile(path: Path, name: str) -> None:
    """Remove a profile.

    Raises:
        SettingsRefused: there is none of that *name*, or the file cannot be written.
    """
    with _editing(path) as document:
        tables = _tables(document)
        if name not in tables:
            raise SettingsRefused(reason=f"there is no profile {name!r}")
        del tables[name]


def choose_default(path: Path, name: str) -> None:
    """Make *name* the profile that is used when none is named.

    Raises:
        SettingsRefused: there is none of that *name*, or the file cannot be written.
    """
    with _editing(path) as document:
        if name not in _tables(document):
            raise SettingsRefused(reason=f"there is no profile {name!r}")
        if "default_profile" in document:
            document["default_profile"] = name
            return
        # A plain value behind a table header would belong to that table.
        body = document.as_string()
        document.clear()
        document.update(_parse(f'default_profile = "{name}"\n{body}'))


def checked_name(name: str) -> str:
    """Return *name* when a profile can have it.

    Raises:
        SettingsRefused: it is not 1 to 64 letters, digits, ``_``, ``.`` or ``-``.
    """
    if not _NAME.fullmatch(name):
        raise SettingsRefused(reason=f"{name!r} cannot name a profile: letters, digits, _ . - only")
    return name


def _profile(path: Path, name: str, table: object) -> Profile:
    if not isinstance(table, dict):
        raise SettingsRefused(reason=f"[profiles.{name}] in {path} must be a table")
    values = [table.get(key, "") for key in ("url", "user", "key")]
    if not all(isinstance(value, str) for value in values):
        raise SettingsRefused(reason=f"url, user and key of [profiles.{name}] in {path} are text")
    return Profile(*values)


def _tables(document: "TOMLDocument") -> Any:
    import tomlkit  # noqa: PLC0415 - only the commands that write profiles need it

    if "profiles" not in document:
        document["profiles"] = tomlkit.table(is_super_table=True)
    return document["profiles"]


def _parse(text: str) -> "TOMLDocument":
    import tomlkit  # noqa: PLC0415 - only the commands that write profiles need it

    return tomlkit.parse(text)


def _free_name(tables: Any, name: str) -> str:
    number = 1
    while f"{name}-{number}" in tables:
        number += 1
    return f"{name}-{number}"


@contextlib.contextmanager
def _editing(path: Path) -> Iterator["TOMLDocument"]:
    """Give out the document, and write it back when the block succeeds and has changed it."""
    # Dot files are often links into a repository: change the file, keep the link.
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsRefused(reason=f"cannot use {path.parent}: {error.strerror}") from error
    try:
        # Two commands that store a profile at once must not lose one of them.
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        document = _parse(before)
        yield document
        _replace(path, document.as_string(), folder)
    except OSError as error:
        raise SettingsRefused(reason=f"cannot change {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsRefused(reason=f"{path} is not TOML: {error}") from error
    finally:
        os.close(folder)


def _replace(path: Path, text: str, folder: int) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        path.chmod(0o600)
        return
    fresh = path.with_name(f".{path.name}.{uuid4().hex}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
        os.fsync(folder)
    finally:
        fresh.unlink(missing_ok=True)
