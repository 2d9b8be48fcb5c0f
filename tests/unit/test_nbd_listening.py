"""Where claimed drives are offered: paths that are too long, folders of others, what was left."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from drivebay.errors import SetupFailed
from drivebay.nbd.listening import Listening, listen
from drivebay.settings import SOCKET_PATH_MAX, Settings


@pytest.fixture
def opened() -> Iterator[list[Listening]]:
    """What is opened in a test, to be closed behind it."""
    found: list[Listening] = []
    yield found
    for one in found:
        one.close()
        one.remove()


def socket_of(uri: str) -> Path:
    return Path(parse_qs(urlsplit(uri).query)["socket"][0])


def test_the_socket_is_in_the_data_folder(tmp_path, opened):
    opened.append(listen(Settings(data=tmp_path, nbd_socket=tmp_path / "nbd.sock")))

    assert socket_of(opened[0].uri("ticket")) == tmp_path / "nbd.sock"
    assert opened[0].uri("ticket").startswith("nbd+unix:///ticket?socket=")


def test_a_data_folder_with_a_long_path_has_a_socket_that_can_be_reached(tmp_path, opened):
    data = tmp_path / ("x" * SOCKET_PATH_MAX)
    data.mkdir()

    opened.append(listen(Settings(data=data)))

    path = socket_of(opened[0].uri("ticket"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert path.parent.stat().st_mode & 0o077 == 0
    opened[0].remove()
    path.parent.rmdir()


def test_two_data_folders_with_long_paths_have_two_sockets(tmp_path):
    one, other = (Settings(data=tmp_path / (letter * 120)) for letter in "ab")

    assert one.nbd_socket_path() != other.nbd_socket_path()


def test_a_path_that_was_named_and_is_too_long_is_refused(tmp_path):
    path = tmp_path / ("x" * SOCKET_PATH_MAX)

    with pytest.raises(SetupFailed, match="too long"):
        listen(Settings(data=tmp_path, nbd_socket=path))


def test_a_folder_of_another_user_where_all_may_make_some_is_refused(tmp_path, monkeypatch):
    tmp_path.chmod(0o1777)
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)

    with pytest.raises(SetupFailed, match="another user's"):
        listen(Settings(data=tmp_path, nbd_socket=tmp_path / "theirs" / "nbd.sock"))


def test_what_a_killed_service_left_is_replaced(tmp_path, opened):
    path = tmp_path / "nbd.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))

    opened.append(listen(Settings(data=tmp_path, nbd_socket=path)))

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("kind", ["served", "file"])
def test_what_belongs_to_somebody_else_stays(tmp_path, kind):
    path = tmp_path / "nbd.sock"
    with socket.socket(socket.AF_UNIX) as other:
        if kind == "served":
            other.bind(str(path))
            other.listen()
        else:
            path.write_bytes(b"theirs")

        with pytest.raises(SetupFailed, match="cannot listen"):
            listen(Settings(data=tmp_path, nbd_socket=path))

    assert path.exists()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:10809", "example.org:1"])
def test_without_a_certificate_it_listens_on_loopback_only(tmp_path, address):
    with pytest.raises(SetupFailed, match="TLS"):
        listen(Settings(data=tmp_path, nbd_socket=tmp_path / "nbd.sock", nbd=address))


def test_tcp_is_what_clients_are_told_of_where_there_is_both(tmp_path, opened):
    settings = Settings(data=tmp_path, nbd_socket=tmp_path / "nbd.sock", nbd="127.0.0.1:0")

    opened.append(listen(settings))

    port = opened[0].sockets[1].getsockname()[1]
    assert opened[0].uri("ticket") == f"nbd://127.0.0.1:{port}/ticket"
