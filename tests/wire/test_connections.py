"""What happens on a connection that carries more than one request, or asks to be another thing."""

from contextlib import suppress

import pytest

from drivebay.units import MIB
from live import drained
from wire.exchange import Wire, refused, request
from wire.processes import memory_before, peaks_grown


def test_two_requests_sent_at_once_are_answered_in_order(server, caller, kept):
    with Wire(server) as wire:
        wire.send(
            request("GET", f"/drives/{kept}/read/0/3", user=caller.user)
            + request("POST", "/drives/list", b"", user=caller.user)
            + request("GET", f"/drives/{kept}/read/3/3", user=caller.user)
        )

        first, second, third = wire.answer(), wire.answer(), wire.answer()

        assert (first.body, third.body) == (b"\0\1\2", b"\3\4\5")
        assert kept in second.text
        assert wire.ask("GET", "/drives/list", user=caller.user).status == 200


def test_a_change_and_a_read_sent_at_once_take_effect_in_order(server, caller):
    drive = caller.create()
    parts = []
    for turn in range(20):
        body = bytes([turn]) * 5000
        parts.append(request("POST", f"/drives/{drive}/write", body, user=caller.user))
        parts.append(request("GET", f"/drives/{drive}/read/0/5000", user=caller.user))

    with Wire(server) as wire:
        wire.send(b"".join(parts))

        for turn in range(20):
            assert wire.answer().status == 204
            assert wire.answer().body == bytes([turn]) * 5000


def test_garbage_behind_a_good_request_closes_after_its_answer(server, caller, kept):
    with Wire(server) as wire:
        wire.send(request("GET", f"/drives/{kept}/read/0/64k", user=caller.user) + b"\0garbage\r\n")

        assert len(wire.answer().body) == 65536
        refused(wire.answer(), 400, "usage")
        assert wire.is_closed()


def test_a_refused_request_behind_a_good_one_closes_after_its_answer(server, caller, kept):
    bad = request(
        "POST", f"/drives/{kept}/destroy", user=caller.user, headers=["Transfer-Encoding: chunked"]
    )
    with Wire(server) as wire:
        wire.send(request("GET", "/drives/list", user=caller.user) + bad + b"0\r\n\r\n")

        assert kept in wire.answer().text
        refused(wire.answer(), 411, "usage")
        assert wire.is_closed()


def test_what_follows_a_body_needs_credentials_of_its_own_24(server, caller, kept):
    destroy = request("POST", f"/drives/{kept}/destroy", b"")
    with Wire(server) as wire:
        wire.send(request("POST", "/drives/list", b"abc", user=caller.user) + destroy)

        assert wire.answer().status == 200
        refused(wire.answer(), 401, "auth")


@pytest.mark.parametrize("length", [1, 10, 1000])
def test_a_request_inside_a_body_is_only_a_body(server, caller, kept, length):
    destroy = request("POST", f"/drives/{kept}/destroy", b"", user=caller.user)
    padded = b"x" * length + destroy + b"\r\n" * length
    with Wire(server) as wire:
        for method, path in [("GET", "/drives/list"), ("POST", "/drives/info")]:
            wire.send(request(method, path, padded, user=caller.user))

            assert wire.answer().status == 200
        refused(wire.ask("POST", "/nowhere", padded, user=caller.user), 404, "missing")
        refused(wire.ask("GET", f"/drives/{kept}/destroy", padded, user=caller.user), 405, "method")


@pytest.mark.parametrize(
    "headers",
    [["Connection: close"], ["Connection: keep-alive, Close"]],
    ids=["alone", "in a list"],
)
def test_no_request_is_run_behind_one_that_closes(server, caller, kept, headers):
    with Wire(server) as wire:
        wire.send(
            request("GET", "/drives/list", user=caller.user, headers=headers)
            + request("POST", f"/drives/{kept}/destroy", b"", user=caller.user)
        )

        answer = wire.answer()

        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_no_request_is_run_behind_one_in_http_1_0(server, caller, kept):
    with Wire(server) as wire:
        wire.send(
            request("GET", "/drives/list", user=caller.user, version="1.0")
            + request("POST", f"/drives/{kept}/destroy", b"", user=caller.user, version="1.0")
        )

        assert wire.answer().headers["connection"] == "close"
        assert wire.is_closed()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/drives/{}/destroy", None, 405),
        ("POST", "/drives/{}/set", "size zero", 400),
        ("POST", "/drives/{}/write/65536", "x", 507),
        ("POST", "/drives/{}/image/{}", "", 400),
        ("POST", "/drives/{}/image/cancel", "", 409),
        ("POST", "/drives/create", "x" * 65536, 400),
        ("DELETE", "/drives/{}/destroy", "x" * 65536, 405),
    ],
)
def test_a_connection_goes_on_after_a_refusal(server, caller, kept, method, path, body, status):
    with Wire(server) as wire:
        answer = wire.ask(method, path.format(kept, kept), body, user=caller.user)

        assert answer.status == status
        assert "connection" not in answer.headers
        assert kept in wire.ask("GET", "/drives/list", user=caller.user).text
        refused(wire.ask("GET", "/drives/list"), 401, "auth")
        assert wire.ask("GET", f"/drives/{kept}/read/1/1", user=caller.user).body == b"\1"


@pytest.mark.parametrize(
    "headers",
    [
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
        ["Connection: Upgrade", "Upgrade: TLS/1.0"],
        ["Upgrade: h2c"],
    ],
    ids=lambda headers: headers[-1],
)
def test_an_upgrade_is_passed_over_and_the_connection_stays_http_1_1(server, caller, headers):
    drive = caller.create()
    write = f"/drives/{drive}/write"
    with Wire(server) as wire:
        wire.send(
            request("POST", write, b"a body of its own", user=caller.user, headers=headers)
            + request("GET", f"/drives/{drive}/read/0/17", user=caller.user, headers=headers)
            + request("POST", write, b"", user=caller.user, headers=headers)
        )

        assert wire.answer().status == 204
        assert wire.answer().body == b"a body of its own"
        assert wire.answer().status == 204
        assert wire.ask("GET", "/drives/list", user=caller.user).status == 200


def test_the_body_of_an_upgrade_is_no_request(server, caller, kept):
    upgrade = ["Connection: Upgrade", "Upgrade: h2c"]
    destroy = request("POST", f"/drives/{kept}/destroy", b"", user=caller.user)
    for cut in (0, 1, len(destroy)):
        with Wire(server) as wire:
            head = request(
                "POST",
                "/drives/list",
                user=caller.user,
                headers=[*upgrade, f"Content-Length: {len(destroy)}"],
            )
            wire.send(head + destroy[:cut], destroy[cut:])

            assert kept in wire.answer().text
            assert wire.ask("GET", "/drives/list", user=caller.user).status == 200


def test_connect_opens_no_tunnel(server, caller, kept):
    with Wire(server) as wire:
        answer = wire.ask("CONNECT", "/drives/list", user=caller.user)

        assert refused(answer, 405, "method")
        assert kept in wire.ask("GET", "/drives/list", user=caller.user).text


def test_blank_lines_in_front_of_a_request_are_passed_over(server, caller):
    with Wire(server) as wire:
        wire.send(b"\r\n\r\n" + request("GET", "/drives/list", user=caller.user) + b"\r\n")

        assert wire.answer().status == 200
        assert wire.ask("GET", "/drives/list", user=caller.user).status == 200


def test_requests_cut_at_every_byte_are_whole_requests(server, caller, drive):
    both = request("POST", "/drives/info", b"ab", user=caller.user) + request(
        "GET", f"/drives/{drive}/read/0/4", user=caller.user
    )
    for cut in range(1, len(both)):
        with Wire(server) as wire:
            wire.send(both[:cut], both[cut:])

            assert drive in wire.answer().text
            assert wire.answer().body == b"\0\1\2\3"


def test_a_caller_that_says_it_is_done_still_gets_its_answers(server, caller):
    drive = caller.create()
    with Wire(server) as wire:
        wire.send(
            request("POST", f"/drives/{drive}/write", b"last words", user=caller.user)
            + request("GET", f"/drives/{drive}/read/0/64k", user=caller.user)
        )
        wire.half_close()

        assert wire.answer().status == 204
        assert wire.answer().body.startswith(b"last words")
        assert wire.is_closed()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_requests_without_end_on_one_connection_fill_no_memory(make_server, version):
    """A million of them by a caller that takes no answer meanwhile."""
    server = make_server(options=["--stall-timeout-s", "0.5"])
    before = memory_before(server)
    many = f"GET / HTTP/{version}\r\nHost:\r\n\r\n".encode() * 10_000

    with Wire(server) as wire, suppress(ConnectionError):
        for _ in range(100):
            wire.send(many)
        drained(wire.socket)

    assert peaks_grown(server, before) < 16 * MIB


def test_a_thousand_requests_at_once_are_all_answered_in_their_order(server, caller, kept):
    reads = [request("GET", f"/drives/{kept}/read/{i % 4}/1", user=caller.user) for i in range(500)]
    lists = [request("GET", "/drives/list/standard", user=caller.user)] * 500
    with Wire(server) as wire:
        wire.send(b"".join(one for pair in zip(reads, lists, strict=True) for one in pair))

        answers = [wire.answer() for _ in range(1000)]

    assert [answer.body for answer in answers[::2]] == [bytes([i % 4]) for i in range(500)]
    assert {answer.status for answer in answers} == {200}
