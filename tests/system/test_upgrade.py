"""Clients that ask for HTTP/2 on the way (Java's, curl's) get HTTP/1.1, and nothing is lost."""

import pytest

from live import Credentials, Server, authorization, drained

# As Java's HttpClient sends it with every request over plain HTTP.
ASKING = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB"


def request(user: Credentials, path: str, body: bytes, *headers: str) -> bytes:
    lines = [
        *(f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"),
        *(f"Authorization: {authorization(user)}", *headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read(server: Server, user: Credentials, drive: str, length: int) -> bytes:
    return server.api("GET", f"/drives/{drive}/read/0/{length}", user=user).body


@pytest.mark.parametrize("asking", [ASKING, "Connection: Upgrade\r\nUpgrade: websocket"])
def test_the_body_of_a_request_to_upgrade_is_written(server, owner, asking):
    drive = server.create("size 1M", user=owner)
    body = bytes(range(256)) * 1024

    with server.connect() as connection:
        connection.sendall(request(owner, f"/drives/{drive}/write", body, asking))
        assert connection.recv(65536).startswith(b"HTTP/1.1 204")

    assert read(server, owner, drive, len(body)) == body


def test_a_body_that_looks_like_a_request_is_a_body(server, owner):
    drive, other = server.create("size 1M", user=owner), server.create("size 1M", user=owner)
    inner = request(owner, f"/drives/{other}/destroy", b"")

    sent = request(owner, f"/drives/{drive}/write", inner, ASKING)
    answers = server.raw(sent + request(owner, "/drives/list", b"", "Connection: close"))

    assert [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]] == [b"204", b"200"]
    assert answers.endswith(f"\r\n\r\n{drive}\n{other}\n".encode())
    assert read(server, owner, drive, len(inner)) == inner


def test_requests_to_upgrade_may_come_in_a_row_and_in_single_bytes(server, owner):
    drive = server.create("size 1M", user=owner)
    parts = [b"one", b"", b"three"]

    with server.connect() as connection:
        for part in (request(owner, f"/drives/{drive}/write", part, ASKING) for part in parts):
            for byte in part:
                connection.sendall(bytes([byte]))
        connection.sendall(request(owner, "/drives/list", b"", ASKING, "Connection: close"))
        answers = drained(connection)

    statuses = [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"204", b"204", b"204", b"200"]
    assert read(server, owner, drive, 5) == b"three"


def test_many_requests_to_upgrade_in_one_packet_are_all_answered(server, owner):
    server.create("size 1M", user=owner)
    one = request(owner, "/drives/list", b"", ASKING)

    answers = server.raw(one * 60 + request(owner, "/drives/list", b"", "Connection: close"))

    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 61
