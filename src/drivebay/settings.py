"""The service's settings: what each means, its default, and where its value came from.

A value comes from the first of: the command line, the environment (`DRIVEBAY_` and the name in
capitals), the `[serve]` table of the configuration file, the default.  Only this module reads the
server's environment.
"""

import hashlib
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from drivebay.errors import SetupFailed
from drivebay.units import OFFSET_MAX, parse_size


def config_home() -> Path:
    """Return the folder of the user's drivebay configuration ($XDG_CONFIG_HOME/drivebay)."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "drivebay"


def client_config_file() -> Path:
    """Return the file that holds the command line's profiles."""
    return Path(os.environ.get("DRIVEBAY_CONFIG") or config_home() / "config.toml")


def _default_data() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "drivebay"


def _default_workers() -> int:
    # One worker keeps one core busy; past four, memory grows and a small machine gains nothing.
    return min(4, max(1, len(os.sched_getaffinity(0))))


@dataclass(frozen=True)
class StoreSettings:
    """One `[[serve.stores]]` entry: a directory that holds volumes, in a failure domain."""

    name: str
    path: Path
    domain: str


def _setting(default: Any, help: str, *, kind: str = "int") -> Any:
    factory = default if callable(default) else (lambda: default)
    return field(default_factory=factory, metadata={"help": help, "kind": kind})


@dataclass(frozen=True)
class Settings:
    """Everything that `drivebay serve` can be told.  Sizes are bytes, times are seconds."""

    data: Path = _setting(_default_data, "The data folder.", kind="path")
    http: str = _setting("127.0.0.1:8080", "Where to listen, as HOST:PORT.", kind="text")
    workers: int = _setting(_default_workers, "HTTP worker processes.")
    nbd_socket: Path | None = _setting(
        None,
        "The unix socket for claimed drives; by default nbd.sock in the data folder.",
        kind="path",
    )
    nbd: str = _setting(
        "", "Where else to offer claimed drives, as HOST:PORT; nowhere by default.", kind="text"
    )
    nbd_certificate: Path | None = _setting(
        None, "The certificate chain for NBD over TLS, as PEM; needed off loopback.", kind="path"
    )
    nbd_key: Path | None = _setting(None, "The certificate's private key, as PEM.", kind="path")
    nbd_name: str = _setting(
        "", "What NBD URIs call this machine; the address of nbd by default.", kind="text"
    )
    nbd_workers: int = _setting(_default_workers, "NBD server processes.")
    master_key: Path = _setting(
        lambda: config_home() / "master.key",
        "The file with the master key, outside the data folder.",
        kind="path",
    )
    imaging_jobs: int = _setting(2, "Imaging jobs that run at once; the rest are queued.")
    transfers_per_user: int = _setting(
        16, "Reads and writes that one user may have in flight in one worker."
    )
    header_timeout_s: float = _setting(
        15.0, "How long a request's headers may take to arrive.", kind="seconds"
    )
    keep_alive_s: float = _setting(
        75.0, "How long a connection may stay idle between requests.", kind="seconds"
    )
    stall_timeout_s: float = _setting(
        30.0, "How long a body may make no progress, in either direction.", kind="seconds"
    )
    stop_timeout_s: float = _setting(
        30.0, "How long requests in flight may take to finish after SIGTERM.", kind="seconds"
    )
    quota_drives: int = _setting(0, "Drives that a new user may have; 0 is no limit.")
    quota_bytes: int = _setting(
        0, "Bytes that a new user's drives may add up to; 0 is no limit.", kind="size"
    )
    log_level: str = _setting(
        "info", "How much to log: debug, info, warning or error.", kind="text"
    )
    stores: tuple[StoreSettings, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that no part of the service could work with."""
        _require(0 < self.workers <= 64, "workers must be from 1 to 64")
        _require(0 < self.nbd_workers <= 64, "nbd_workers must be from 1 to 64")
        _require(0 < self.imaging_jobs <= 64, "imaging_jobs must be from 1 to 64")
        _require(0 < self.transfers_per_user <= 1024, "transfers_per_user must be from 1 to 1024")
        _require(self.log_level in LOG_LEVELS, f"log_level must be one of {', '.join(LOG_LEVELS)}")
        for name in ("quota_drives", "quota_bytes"):
            allowed = 0 <= getattr(self, name) <= OFFSET_MAX
            _require(allowed, f"{name} must be from 0 to {OFFSET_MAX}")
        for name in ("header_timeout_s", "keep_alive_s", "stall_timeout_s", "stop_timeout_s"):
            allowed = 0 < getattr(self, name) <= TIMEOUT_S_MAX
            _require(allowed, f"{name} must be more than 0 and at most {TIMEOUT_S_MAX}")
        names = [store.name for store in self.stores]
        _require(len(set(names)) == len(names), "two stores have the same name")
        self.listen_address()
        self.nbd_address()
        has_both = (self.nbd_certificate is None) == (self.nbd_key is None)
        _require(has_both, "nbd_certificate and nbd_key go together")

    def listen_address(self) -> tuple[str, int]:
        """Return host and port of `http`."""
        return _address("http", self.http)

    def nbd_address(self) -> tuple[str, int] | None:
        """Return host and port of `nbd`, if there is one."""
        return _address("nbd", self.nbd) if self.nbd else None

    def nbd_socket_path(self) -> Path:
        """Return where the unix socket for claimed drives is.

        A data folder whose path is too long for a socket's address has it in a folder below /tmp.
        """
        path = self.nbd_socket or self.data / "nbd.sock"
        if self.nbd_socket is not None or len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            return path
        name = hashlib.blake2b(os.fsencode(self.data), digest_size=8).hexdigest()
        return Path(f"/tmp/drivebay-{os.getuid()}-{name}/nbd.sock")  # noqa: S108 - see `listening`

    def store_list(self) -> tuple[StoreSettings, ...]:
        """Return the configured stores, or the one in the data folder."""
        default = StoreSettings("default", self.data / "stores" / "default", "default")
        return self.stores or (default,)


SOCKET_PATH_MAX = 107
"""The longest path of a unix socket, in bytes: sun_path of <sys/un.h>, less the byte that ends it."""

LOG_LEVELS = ("debug", "info", "warning", "error")

TIMEOUT_S_MAX = 86_400
"""A day: longer than any transfer may stall, and short enough for every clock's arithmetic."""


def _address(name: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    _require(
        bool(host) and re.fullmatch("[0-9]{1,5}", port) is not None and int(port) < 65536,
        f"{name} must be HOST:PORT, not {text!r}",
    )
    return host.strip("[]"), int(port)


def options() -> dict[str, tuple[str, str]]:
    """Return each scalar setting's name with its kind and its help, in the order of definition."""
    return {
        item.name: (item.metadata["kind"], item.metadata["help"])
        for item in fields(Settings)
        if item.metadata
    }


def variable(name: str) -> str:
    """Return the environment variable of the setting *name*."""
    return f"DRIVEBAY_{name.upper()}"


def load(given: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Return the settings, with *given* (from the command line; None means not given) on top.

    Raises:
        SetupFailed: a value cannot be used; the message names it and where it came from.
    """
    variable_config = os.environ.get("DRIVEBAY_CONFIG")
    named = config or (Path(variable_config) if variable_config else None)
    table = _read_table(named)
    values: dict[str, Any] = {}
    for name, (kind, _) in options().items():
        if given.get(name) is not None:
            values[name] = _convert(name, kind, given[name], "the command line")
        elif variable(name) in os.environ:
            values[name] = _convert(name, kind, os.environ[variable(name)], variable(name))
        elif name in table:
            values[name] = _convert(name, kind, table[name], str(named))
    settings = Settings(**values, stores=_stores(table.get("stores", []), named))
    return replace(settings, data=settings.data.absolute())


def _read_table(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SetupFailed(reason=f"the configuration file {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise SetupFailed(
            reason=f"the configuration file {path} cannot be read: {error}"
        ) from error
    table = document.get("serve", {})
    _require(isinstance(table, dict), f"[serve] in {path} must be a table")
    unknown = sorted(set(table) - set(options()) - {"stores"})
    _require(not unknown, f"unknown setting in [serve] of {path}: {', '.join(unknown)}")
    return dict(table)


def _stores(entries: Any, source: Path | None) -> tuple[StoreSettings, ...]:
    stores = []
    for entry in entries if isinstance(entries, list) else [entries]:
        keys = {"name", "path", "domain"}
        if not isinstance(entry, dict) or not {"name", "path"} <= set(entry) <= keys:
            reason = f"each [[serve.stores]] in {source} needs name and path, and may have domain"
            raise SetupFailed(reason=reason)
        source_of = f"[[serve.stores]] in {source}"
        name = _convert("name", "text", entry["name"], source_of)
        path = _convert("path", "path", entry["path"], source_of)
        domain = _convert("domain", "text", entry.get("domain", name), source_of)
        stores.append(StoreSettings(name, path, domain))
    return tuple(stores)


def _convert(name: str, kind: str, value: Any, source: str) -> Any:
    try:
        match kind:
            case "path":
                return _path(value)
            case "int":
                return _whole(value)
            case "seconds":
                return _seconds(value)
            case "size":
                return parse_size(value) if isinstance(value, str) else _whole(value)
            case _:
                return _text(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SetupFailed(reason=f"{name} from {source} cannot be {value!r}: {error}") from error


def _path(value: Any) -> Path:
    text = os.fspath(value)
    # An empty path would be the folder that the service happens to be started in.
    if not text or "\0" in text:
        raise ValueError("it must be a path")
    return Path(text).expanduser().absolute()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("it must be text")
    if not value or not value.isprintable():
        raise ValueError("it must be one line of text, and not empty")
    return value


def _whole(value: Any) -> int:
    # int() also takes signs, underscores, blanks, fractions and the digits of other scripts.
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("it must be a whole number")


def _seconds(value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", value):
        return float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError("it must be a number of seconds")


def _require(condition: object, reason: str) -> None:
    if not condition:
        raise SetupFailed(reason=reason)
