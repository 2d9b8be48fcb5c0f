"""Requests whose framing is wrong or in doubt: refused, nothing done, the connection closed.

The numbers in the ids are those of the list of bad inputs that this suite was made from.  Every
malformed request here would destroy a drive if a lenient reader took it for what it resembles.
"""

import pytest

from live import authorization
from wire.exchange import Wire, refused, request

REFUSED = {
    "17-length-and-chunked": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "17-chunked-and-length": ["Transfer-Encoding: chunked", "Content-Length: 5"],
    "18-chunked": ["Transfer-Encoding: chunked"],
    "19-xchunked": ["Transfer-Encoding: xchunked"],
    "19-identity": ["Transfer-Encoding: identity"],
    "19-empty-coding": ["Transfer-Encoding:"],
    "19-chunked-then-identity": ["Transfer-Encoding: chunked, identity"],
    "19-two-codings": ["Transfer-Encoding: gzip, chunked"],
    "19-two-headers": ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
    "19-vertical-tab": ["Transfer-Encoding: \x0bchunked"],
    "19-quoted": ['Transfer-Encoding: "chunked"'],
    "19-blank-before-colon": ["Transfer-Encoding : chunked"],
    "19-tab-before-colon": ["Transfer-Encoding\t: chunked"],
    "19-folded-value": ["Transfer-Encoding:\r\n chunked"],
    "19-folded-header": ["X-Note: one\r\n two"],
    "19-header-that-begins-blank": [" Transfer-Encoding: chunked"],
    "20-two-lengths": ["Content-Length: 5", "Content-Length: 6"],
    "20-two-equal-lengths": ["Content-Length: 5", "Content-Length: 5"],
    "21-plus": ["Content-Length: +5"],
    "21-minus": ["Content-Length: -1"],
    "21-hexadecimal": ["Content-Length: 0x5"],
    "21-blank-inside": ["Content-Length: 5 5"],
    "21-list": ["Content-Length: 5,5"],
    "21-30-digits": ["Content-Length: " + "5" * 30],
    "21-20-digits": ["Content-Length: " + "9" * 20],
    "21-empty": ["Content-Length:"],
    "21-suffix": ["Content-Length: 5k"],
    "21-blank-before-colon": ["Content-Length : 5"],
    "26-nul": ["X-Note: a\0b"],
    "26-nul-in-name": ["X\0Note: a"],
    "26-carriage-return": ["X-Note: a\rb"],
    "26-bare-line-feed": ["X-Note: a\nX-Other: b"],
    "26-two-line-feeds": ["X-Note: a\n\nGET / HTTP/1.1"],
    "26-no-colon": ["X-Note"],
    "26-no-name": [": a"],
    "26-blank-in-name": ["X Note: a"],
    "29-two-hosts": ["Host: other"],
}


@pytest.mark.parametrize(
    "headers", [pytest.param(lines, id=name) for name, lines in REFUSED.items()]
)
def test_headers_that_leave_the_framing_in_doubt_are_refused(server, caller, kept, headers):
    path = f"/drives/{kept}/destroy"
    with Wire(server) as wire:
        wire.send(request("POST", path, user=caller.user, headers=headers), b"0\r\n\r\n")

        answer = wire.answer()

        has_coding = any(line.startswith("Transfer-Encoding") for line in headers)
        status = answer.status if has_coding and answer.status == 411 else 400
        refused(answer, status, "usage")
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


START_LINES = {
    "26-bare-line-feed": "POST {path} HTTP/1.1\n",
    "26-nul-in-path": "POST {path}\0 HTTP/1.1\r\n",
    "26-carriage-return-in-path": "POST {path}\r HTTP/1.1\r\n",
    "26-blank-in-path": "POST {path} x HTTP/1.1\r\n",
    "26-tab-between": "POST\t{path}\tHTTP/1.1\r\n",
    "26-raw-umlaut-in-path": "POST {path}\xfc HTTP/1.1\r\n",
    "28-http-0.9": "POST {path} HTTP/0.9\r\n",
    "28-http-1.2": "POST {path} HTTP/1.2\r\n",
    "28-http-2.0": "POST {path} HTTP/2.0\r\n",
    "28-http-3": "POST {path} HTTP/3\r\n",
    "28-longer-version": "POST {path} HTTP/1.10\r\n",
    "28-other-protocol": "POST {path} ICE/1.0\r\n",
    "28-lower-case-protocol": "POST {path} http/1.1\r\n",
    "28-unknown-method": "DESTROY {path} HTTP/1.1\r\n",
    "28-lower-case-method": "post {path} HTTP/1.1\r\n",
    "29-absolute-form": "POST http://drivebay{path} HTTP/1.1\r\n",
    "29-authority-form": "CONNECT drivebay:80 HTTP/1.1\r\n",
    "29-asterisk-form": "OPTIONS * HTTP/1.1\r\n",
    "29-no-slash-in-front": "POST drives/list HTTP/1.1\r\n",
    "29-fragment": "POST {path}#x HTTP/1.1\r\n",
}


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=name) for name, line in START_LINES.items()]
)
def test_start_lines_that_are_not_plain_http_1_1_are_refused(server, caller, kept, line):
    rest = request("POST", "/", b"", user=caller.user).partition(b"\r\n")[2]
    with Wire(server) as wire:
        wire.send(line.format(path=f"/drives/{kept}/destroy").encode("latin-1") + rest)

        refused(wire.answer(), 400, "usage")
        assert wire.is_closed()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), id="28-http-2-preface"),
        pytest.param(bytes.fromhex("16030100a5010000a10303") + bytes(160), id="28-tls-hello"),
        pytest.param(bytes(1000), id="28-zeros"),
        pytest.param(b"\xff" * 1000, id="28-ones"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="28-ssh"),
        pytest.param(b"\r\n\r\n\x00", id="28-blank-lines-then-zero"),
    ],
)
def test_what_is_no_http_is_refused_without_a_flood_in_the_log(server, kept, data):
    before = server.log.stat().st_size
    with Wire(server) as wire:
        wire.send(data)

        refused(wire.answer(), 400, "usage")
        assert wire.is_closed()
    assert server.log.stat().st_size - before < 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param([], 404, id="29-no-host-in-1.0"),
        pytest.param(["Host: evil.example"], 404, id="29-host-of-another"),
        pytest.param(["Host:"], 404, id="29-empty-host"),
        pytest.param(["Host: a", "Host: a"], 400, id="29-two-hosts"),
    ],
)
def test_the_host_header_is_counted_and_otherwise_unused(server, caller, headers, status):
    version = "1.1" if headers else "1.0"
    lines = [f"GET /nowhere HTTP/{version}", *headers]
    lines.append(f"Authorization: {authorization(caller.user)}")
    with Wire(server) as wire:
        answer = wire.send("\r\n".join([*lines, "", ""]).encode()).answer()

        refused(answer, status, "missing" if status == 404 else "usage")
        assert "evil" not in f"{answer.headers}{answer.body}"


def test_a_request_in_http_1_1_without_a_host_is_refused_29(server, caller, kept):
    head = f"POST /drives/{kept}/destroy HTTP/1.1\r\nAuthorization: {authorization(caller.user)}"
    with Wire(server) as wire:
        refused(wire.send(f"{head}\r\n\r\n".encode()).answer(), 400, "usage")
        assert wire.is_closed()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param("POST /" + "x" * 100 * 1024, 414, id="27-100-kib-path"),
        pytest.param("POST /drives?" + "x" * 100 * 1024, 414, id="27-100-kib-query"),
        pytest.param("POST /" + "/" * 100 * 1024, 414, id="27-100-kib-of-slashes"),
    ],
)
def test_a_request_line_that_is_too_long_is_refused(server, kept, line, status):
    with Wire(server) as wire:
        wire.send(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        refused(wire.answer(), status, "usage")
        assert wire.is_closed()


def test_the_longest_path_is_8_kib_27(server, caller):
    with Wire(server) as wire:
        longest = "/" + "x" * (8 * 1024 - 1)

        refused(wire.ask("GET", longest, user=caller.user), 404, "missing")
        refused(wire.ask("GET", longest + "x", user=caller.user), 414, "usage")
        assert wire.is_closed()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([f"X-{number}: a" for number in range(200)], id="27-200-headers"),
        pytest.param(["X-Note: " + "a" * 1024 * 1024], id="27-1-mib-in-one"),
        pytest.param(["X" * 1024 * 1024 + ": a"], id="27-1-mib-of-a-name"),
        pytest.param([f"X-{n}: " + "a" * 11000 for n in range(95)], id="27-1-mib-in-95"),
        pytest.param(["X-Note: " + "a" * 66000], id="27-just-too-long"),
    ],
)
def test_headers_that_are_too_many_or_too_long_are_refused(server, caller, kept, headers):
    path = f"/drives/{kept}/destroy"
    with Wire(server) as wire:
        wire.send(request("POST", path, user=caller.user, headers=headers))

        refused(wire.answer(), 431, "usage")
        assert wire.is_closed()


def test_headers_of_64_kib_are_taken_27(server, caller):
    with Wire(server) as wire:
        answer = wire.ask(
            "GET", "/drives/list", user=caller.user, headers=["X-Note: " + "a" * 65000]
        )

        assert answer.status == 200


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_long_headers_are_refused_however_they_are_cut(server, caller, size):
    data = request("GET", "/", user=caller.user, headers=["X-Note: " + "a" * 70000])
    with Wire(server) as wire:
        pieces = [data[:60000]]
        pieces += [data[at : at + size] for at in range(60000, 60000 + 10 * size, size)]
        pieces.append(data[60000 + 10 * size :])

        refused(wire.send(*pieces).answer(), 431, "usage")
        assert wire.is_closed()


def test_a_write_without_a_length_is_refused_and_what_follows_is_not_run_22(server, caller, kept):
    with Wire(server) as wire:
        wire.send(
            request("POST", f"/drives/{kept}/write", user=caller.user),
            request("POST", f"/drives/{kept}/destroy", b"", user=caller.user),
        )

        answer = wire.answer()

        refused(answer, 411, "usage")
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


@pytest.mark.parametrize("sent", [0, 1, 4095, 65535], ids=lambda sent: f"23-{sent}")
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_body_that_ends_early_changes_nothing(server, caller, kept, sent, coding):
    head = request(
        "POST",
        f"/drives/{kept}/write",
        user=caller.user,
        headers=["Content-Length: 65536", f"Content-Encoding: {coding}"],
    )
    for end in (Wire.close, Wire.half_close):
        with Wire(server) as wire:
            wire.send(head, bytes(sent))
            end(wire)
            if end is Wire.half_close:
                assert wire.is_closed()


@pytest.mark.parametrize("call", ["create", "set"])
def test_pairs_that_end_early_change_nothing_23(server, caller, kept, call):
    path = "/drives/create" if call == "create" else f"/drives/{kept}/set"
    head = request("POST", path, user=caller.user, headers=["Content-Length: 40"])
    with Wire(server) as wire:
        wire.send(head, b"size 128k\nname changed\n")
        wire.half_close()

        assert wire.is_closed()


@pytest.mark.parametrize(
    "expectation", ["100-continue, other", "other", "200-ok", ""], ids=lambda text: f"25-{text}"
)
def test_an_unknown_expectation_is_417(server, caller, kept, expectation):
    with Wire(server) as wire:
        wire.send(
            request(
                "POST",
                f"/drives/{kept}/write",
                b"x",
                user=caller.user,
                headers=[f"Expect: {expectation}"],
            )
        )

        refused(wire.answer(), 417, "usage")
        assert wire.is_closed()
