"""Starting, watching and ending the service."""

import fcntl
import os
import signal
import socket
import stat
import struct
import subprocess
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from live import Server, authorization, drained
from system.waiting import wait_until

MIB = 1024 * 1024


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def refused(server: Server, *options: str) -> subprocess.CompletedProcess[str]:
    """Start once more with *options*; the start must fail."""
    ended = subprocess.run(
        [*server.command, *options],
        capture_output=True,
        text=True,
        env=server.env,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    return ended


def test_the_first_start_makes_folder_key_user_and_profile(make_server):
    server = make_server(workers=1)

    key = server.base / "config/drivebay/master.key"
    profile = server.base / "config/drivebay/config.toml"
    assert f"master key made: {key}" in server.log.read_text()
    for path, mode in ((key, 0o600), (profile, 0o600), (server.data, 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path
    assert server.api("GET", "/drives/list").status == 200
    assert server.first[1] in profile.read_text()


def test_later_starts_change_nothing_and_keep_every_drive(make_server):
    server = make_server(workers=1)
    drive = server.create("size 2M\nname kept")
    assert server.api("POST", f"/drives/{drive}/write/5", b"content").status == 204
    before = server.api("GET", f"/drives/{drive}/info/full").text
    config = {path: path.read_bytes() for path in (server.base / "config").rglob("*.*")}
    assert server.stop() == 0

    server.start()

    assert server.api("GET", f"/drives/{drive}/info/full").text == before
    assert server.api("GET", f"/drives/{drive}/read/5/7").body == b"content"
    assert {path: path.read_bytes() for path in (server.base / "config").rglob("*.*")} == config
    assert server.log.read_text().count("first user made") == 1


def test_no_process_keeps_a_volume_open_that_the_start_has_looked_at(make_server):
    server = make_server(workers=1)
    server.create()
    assert server.stop() == 0

    server.start()

    for pid in (server.pid, *children_of(server.pid)):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            # The catalog's files come and go meanwhile.
            with suppress(FileNotFoundError):
                assert link.readlink().suffix != ".volume", pid


def test_a_second_start_on_the_same_folder_refuses_in_under_a_second(make_server):
    """A busy machine takes longer, so one start of several counts."""
    server = make_server(workers=1)

    def refuses_at_once() -> bool:
        # The promise is about the program, so what the interpreter takes to start is taken off.
        began = time.monotonic()
        subprocess.run([*server.command[:2], "import drivebay.serve"], check=True, env=server.env)
        imported = time.monotonic()
        ended = refused(server)
        assert "another drivebay serves the data folder" in ended.stderr
        return time.monotonic() - imported < imported - began + 1.0

    wait_until(refuses_at_once)

    assert server.api("GET", "/drives/list").status == 200


def test_sigterm_finishes_the_write_that_is_in_flight(make_server):
    server = make_server(workers=2)
    drive = server.create("size 8M")
    body = os.urandom(4 * MIB)
    head = (
        f"POST /drives/{drive}/write HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: {authorization(server.first)}\r\n\r\n"
    ).encode()
    with server.connect() as connection:
        connection.sendall(head + body[:MIB])
        # The first bytes are with a worker once the kernel holds none of them.
        wait_until(lambda: not unsent(connection))
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: not accepts(server))
        connection.sendall(body[MIB:])
        answer = drained(connection)
    assert answer.startswith(b"HTTP/1.1 204")
    assert server.wait() == 0

    server.start()

    assert server.api("GET", f"/drives/{drive}/read/0/4M").body == body


def unsent(connection: socket.socket) -> int:
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0]


def accepts(server: Server) -> bool:
    try:
        server.connect().close()
    except OSError:
        return False
    return True


def test_each_process_shows_its_name(make_server):
    server = make_server(workers=2)

    names = [Path(f"/proc/{pid}/comm").read_text() for pid in children_of(server.pid)]

    assert names[:2] == ["drivebay-http-0\n", "drivebay-http-1\n"]
    assert "drivebay-jobs\n" in names


def test_a_worker_that_dies_is_started_again(make_server):
    server = make_server(workers=1)
    before = children_of(server.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    wait_until(lambda: len(set(children_of(server.pid)) - set(before)) == len(before))

    assert wait_until(lambda: answered(server)) == 200
    drive, copy = server.create("size 1M"), server.create("size 1M")
    assert server.api("POST", f"/drives/{copy}/image/{drive}").status == 204
    wait_until(lambda: "imaging" not in server.api("GET", f"/drives/{copy}/info").record)


def answered(server: Server) -> int:
    try:
        return server.api("GET", "/drives/list").status
    except OSError:
        return 0


def test_workers_end_with_their_parent_however_it_ends(make_server):
    server = make_server(workers=2)
    pids = children_of(server.pid)
    assert len(pids) > 2

    os.kill(server.pid, signal.SIGKILL)

    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    server.wait()
    server.start()
    assert server.api("GET", "/drives/list").status == 200


@pytest.mark.parametrize("damage", ["missing", "other", "text", "readable"])
def test_a_wrong_master_key_refuses_to_start_and_changes_nothing(make_server, damage):
    server = make_server(workers=1)
    drive = server.create("size 1M")
    assert server.api("POST", f"/drives/{drive}/write", b"content").status == 204
    server.stop()
    key = server.base / "config/drivebay/master.key"
    kept = key.read_text()
    match damage:
        case "missing":
            key.unlink()
        case "other":
            key.write_text("drivebay-master-key-1 " + "00" * 32 + "\n")
        case "text":
            key.write_text("no key\n")
        case "readable":
            key.chmod(0o644)
    before = (server.data / "catalog.sqlite").read_bytes()

    ended = refused(server)

    assert str(key) in ended.stderr
    assert (server.data / "catalog.sqlite").read_bytes() == before
    assert not key.exists() if damage == "missing" else key.exists()
    key.write_text(kept)
    key.chmod(0o600)
    server.start()
    assert server.api("GET", f"/drives/{drive}/read/0/7").body == b"content"


def test_a_master_key_inside_the_data_folder_is_refused(tmp_path):
    server = Server(tmp_path)

    ended = refused(server, "--master-key", str(server.data / "key"))

    assert "inside the data folder" in ended.stderr
    assert not (server.data / "key").exists()


def test_a_port_in_use_is_a_sentence(make_server, tmp_path):
    server = make_server(workers=1)

    ended = refused(Server(tmp_path / "other"), "--http", f"127.0.0.1:{server.port}")

    assert f"cannot listen on 127.0.0.1:{server.port}" in ended.stderr


def test_a_damaged_catalog_refuses_to_start(make_server):
    server = make_server(workers=1)
    server.stop()
    catalog = server.data / "catalog.sqlite"
    content = bytearray(catalog.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    catalog.write_bytes(content)

    ended = refused(server)

    assert str(catalog) in ended.stderr
    assert catalog.read_bytes() == content


@pytest.mark.parametrize("way", ["flag", "variable", "file"])
def test_a_setting_comes_from_flag_variable_or_file(tmp_path, way):
    other = tmp_path / "elsewhere" / "key"
    server = Server(tmp_path / "server", workers=1)
    match way:
        case "flag":
            server.options = ["--master-key", str(other)]
        case "variable":
            server.environment = {"DRIVEBAY_MASTER_KEY": str(other)}
        case "file":
            config = tmp_path / "drivebay.toml"
            config.write_text(f'[serve]\nmaster_key = "{other}"\n')
            server.options = ["--config", str(config)]
    try:
        server.start()
        assert other.exists()
    finally:
        server.close()


def test_a_user_can_be_added_before_the_first_start(tmp_path):
    server = Server(tmp_path, workers=1)
    user, key = server.run("user", "add", "early").strip().split(":")
    try:
        server.start()
        assert server.api("GET", "/drives/list", user=(user, key)).status == 200
        assert server.api("GET", "/drives/list").status == 200
    finally:
        server.close()


def test_users_are_managed_while_the_service_runs(make_server):
    server = make_server(workers=2)
    user, key = server.run("user", "add", "alice").strip().split(":")
    assert server.api("GET", "/drives/list", user=(user, key)).status == 200

    server.run("user", "disable", "alice")
    assert server.api("GET", "/drives/list", user=(user, key)).status == 401
    server.run("user", "enable", "alice")
    assert server.api("GET", "/drives/list", user=(user, key)).status == 200
    again, rotated = server.run("user", "rotate-key", "alice").strip().split(":")
    assert again == user
    assert server.api("GET", "/drives/list", user=(user, key)).status == 401
    assert server.api("GET", "/drives/list", user=(user, rotated)).status == 200
