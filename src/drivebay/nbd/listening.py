"""Where claimed drives are offered: the sockets, and the URIs that lead to them."""

import ipaddress
import os
import socket
import ssl
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from drivebay.errors import SetupFailed
from drivebay.nbd.protocol import Tls
from drivebay.settings import SOCKET_PATH_MAX, Settings

_BACKLOG = 128


@dataclass(frozen=True)
class Listening:
    """The sockets that connections come from, and how clients are told of them."""

    sockets: list[socket.socket]
    tls: ssl.SSLContext | None
    uri: Callable[[str], str]
    path: Path
    _identity: tuple[int, int] = field(default=(0, 0))

    def tls_for(self, connection: socket.socket) -> Tls:
        """Return whether TLS is to be had, or has to be, on an accepted connection."""
        if self.tls is None:
            return Tls.ABSENT
        if connection.family == socket.AF_UNIX or _is_loopback(connection.getpeername()[0]):
            return Tls.OFFERED
        return Tls.REQUIRED

    def close(self) -> None:
        """Close the sockets, in this process."""
        for listener in self.sockets:
            listener.close()

    def remove(self) -> None:
        """Remove the unix socket's file, if it is still ours."""
        with suppress(OSError):
            if _identity(self.path) == self._identity:
                self.path.unlink()


def listen(settings: Settings) -> Listening:
    """Open what *settings* name.

    Raises:
        SetupFailed: an address or the certificate cannot be used.
    """
    tls = _tls(settings)
    path = settings.nbd_socket_path().absolute()
    address = settings.nbd_address()
    if address is not None and tls is None and not _is_loopback(address[0]):
        raise SetupFailed(
            reason=f"nbd on {settings.nbd} needs TLS: other machines could read along",
            hint="name a certificate and its key with --nbd-certificate and --nbd-key",
        )
    sockets = [_unix(path)]
    uri: Callable[[str], str] = lambda ticket: f"nbd+unix:///{ticket}?socket={quote(str(path))}"  # noqa: E731
    if address is not None:
        try:
            sockets.append(_tcp(*address))
        except OSError as error:
            reason = f"nbd cannot listen on {settings.nbd}: {error.strerror}"
            raise SetupFailed(reason=reason) from error
        place = _place(settings, sockets[-1])
        scheme = "nbd" if tls is None else "nbds"
        uri = lambda ticket: f"{scheme}://{place}/{ticket}"  # noqa: E731
    return Listening(sockets, tls, uri, path, _identity(path))


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _place(settings: Settings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if settings.nbd_name:
        host = settings.nbd_name
    elif ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _unix(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise SetupFailed(
            reason=f"the path of the NBD socket is too long: {path}",
            hint=f"name one of at most {SOCKET_PATH_MAX} bytes with --nbd-socket",
        )
    _make_folder(path.parent)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _require_unused(path)
        listener.bind(str(path))
        # Its folder decides who comes this far, and a ticket what they get.
        path.chmod(0o666)
    except OSError as error:
        listener.close()
        raise SetupFailed(
            reason=f"nbd cannot listen on {path}: {error.strerror}",
            hint="name another place with --nbd-socket",
        ) from error
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _make_folder(folder: Path) -> None:
    """Make the socket's folder where it is missing, for us alone.

    Raises:
        SetupFailed: it lies where anybody can make one, and somebody else did.
    """
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        is_open_to_all = bool(folder.parent.stat().st_mode & stat.S_IWOTH)
    except OSError as error:
        raise SetupFailed(
            reason=f"the folder of the NBD socket cannot be made: {folder}: {error.strerror}",
            hint="name another place with --nbd-socket",
        ) from error
    if is_open_to_all and folder.lstat().st_uid != os.getuid():
        raise SetupFailed(
            reason=f"the folder of the NBD socket is another user's: {folder}",
            hint="name another place with --nbd-socket",
        )


def _require_unused(path: Path) -> None:
    """Remove what a service that was killed has left, and nothing else."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.nbd_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.nbd_certificate, settings.nbd_key)
    except (OSError, ssl.SSLError) as error:
        reason = f"the certificate {settings.nbd_certificate} cannot be used: {error}"
        raise SetupFailed(reason=reason) from error
    return context
