"""Who is let in: one well-formed Basic header, and one constant answer to everything else.

The numbers in the ids are those of the list of bad inputs that this suite was made from.
"""

import base64
import uuid

import pytest

from live import authorization
from wire.exchange import Wire, refused, request

PUBLIC = {"date", "content-length", "content-type", "x-elastic-error", "www-authenticate"}


def basic(text: bytes | str) -> str:
    """Return an Authorization header around *text*."""
    data = text.encode() if isinstance(text, str) else text
    return "Authorization: Basic " + base64.b64encode(data).decode()


def wrong_headers(user: str, key: str) -> dict[str, list[str]]:
    """Return headers that must not let *user* in, though some hold the right *key*."""
    good = authorization((user, key)).removeprefix("Basic ")
    return {
        "65-none": [],
        "65-basic-alone": ["Authorization: Basic"],
        "65-basic-and-a-blank": ["Authorization: Basic "],
        "65-empty": ["Authorization:"],
        "65-bad-base64": ["Authorization: Basic !!!"],
        "65-base64-with-garbage": [f"Authorization: Basic {good}!"],
        "65-base64-in-two-parts": [f"Authorization: Basic {good[:20]} {good[20:]}"],
        "65-url-safe-base64": [
            "Authorization: Basic " + base64.urlsafe_b64encode(b"\xff\xfe:~~~").decode()
        ],
        "65-no-padding": [basic(f"{user}:{key}:").rstrip("=")],
        "65-no-colon": [basic(user + key)],
        "65-many-colons": [basic(f"{user}:{key}:")],
        "65-colon-in-front": [basic(f":{user}:{key}")],
        "65-not-utf-8": [basic(user.encode() + b":\xff\xfe")],
        "65-64-kib": [basic(f"{user}:" + "k" * 48_000)],
        "65-2-kib": [basic(f"{user}:" + "k" * 2048)],
        "65-nul-behind": [basic(f"{user}:{key}\0")],
        "65-nul-inside": [basic(f"{user}\0:{key}")],
        "65-line-break": [basic(f"{user}:{key}\r\n")],
        "65-empty-key": [basic(f"{user}:")],
        "65-empty-user": [basic(f":{key}")],
        "65-nothing-but-a-colon": [basic(":")],
        "65-key-cut": [basic(f"{user}:{key[:-1]}")],
        "65-key-longer": [basic(f"{user}:{key}A")],
        "65-key-in-other-case": [basic(f"{user}:{key.swapcase()}")],
        "65-key-of-nobody": [basic(f"{uuid.uuid4()}:{key}")],
        "65-user-in-upper-case": [basic(f"{user.upper()}:{key}")],
        "65-user-without-dashes": [basic(f"{user.replace('-', '')}:{key}")],
        "65-user-by-name": [basic(f"first:{key}")],
        "65-nil-user": [basic(f"{uuid.UUID(int=0)}:{key}")],
        "65-everybody": [basic(f"{uuid.UUID(int=2**128 - 1)}:{key}")],
        "65-sql": [basic(f"' OR 1=1 --:{key}")],
        "72-two-headers": [basic(f"{user}:{key}")] * 2,
        "72-two-different": [basic(f"{user}:{key}"), "Authorization: Bearer x"],
        "72-two-in-one": [basic(f"{user}:{key}") + ", Bearer x"],
        "72-bearer": [f"Authorization: Bearer {good}"],
        "72-digest": [f'Authorization: Digest username="{user}"'],
        "72-basic-without-blank": [f"Authorization: Basic{good}"],
        "72-tab": [f"Authorization: Basic\t{good}"],
        "72-proxy": [f"Proxy-Authorization: Basic {good}"],
        "72-cookie": [f"Cookie: authorization=Basic {good}"],
        "72-forwarded-user": [f"X-Forwarded-User: {user}", f"X-Remote-User: {user}"],
    }


@pytest.mark.parametrize("name", wrong_headers("", ""))
def test_other_credentials_are_401_with_one_constant_answer(server, caller, kept, name):
    headers = wrong_headers(*caller.user)[name]
    with Wire(server) as wire:
        for method, path in [("GET", f"/drives/{kept}/info"), ("POST", f"/drives/{kept}/destroy")]:
            answer = wire.ask(method, path, "", headers=headers)

            sentence = refused(answer, 401, "auth")
            assert sentence == "give your user uuid and API key with HTTP Basic authentication\n"
            assert set(answer.headers) == PUBLIC


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "bAsIc", "Basic  "])
def test_the_schemes_case_and_blanks_do_not_count(server, caller, drive, scheme):
    good = authorization(caller.user).removeprefix("Basic ")
    with Wire(server) as wire:
        answer = wire.ask("GET", "/drives/list", headers=[f"authorization: {scheme} {good}"])

        assert drive in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/drives/list?user={0}&key={1}",
        "/drives/list?Authorization=Basic%20{1}",
        "/drives/list?{0}:{1}",
        "/{0}:{1}@/drives/list",
        "/{0}:{1}/drives/list",
    ],
)
def test_credentials_in_the_url_are_not_taken_and_not_logged_71(server, caller, kept, path):
    with Wire(server) as wire:
        refused(wire.ask("GET", path.format(*caller.user)), 401, "auth")

    assert caller.user[1] not in server.log.read_text()


def test_an_unknown_path_needs_credentials_like_a_known_one(server):
    with Wire(server) as wire:
        answers = [
            wire.ask(method, path, "")
            for method, path in [
                ("GET", "/drives/list"),
                ("GET", "/nowhere"),
                ("PUT", "/drives/create"),
                ("GET", f"/drives/{uuid.uuid4()}/info"),
                ("GET", "/"),
            ]
        ]

    assert len({answer.body for answer in answers}) == 1
    for answer in answers:
        refused(answer, 401, "auth")


def test_the_description_needs_no_credentials(server):
    with Wire(server) as wire:
        assert wire.ask("GET", "/openapi.json").status == 200
        assert wire.ask("HEAD", "/openapi.json").status == 200
        assert wire.ask("GET", "/openapi.json", headers=["Authorization: nonsense"]).status == 200


def test_a_key_that_was_rotated_is_refused_on_the_connections_that_it_opened(server):
    user = server.add_user()
    with Wire(server) as wire:
        assert wire.ask("GET", "/drives/list", user=user).status == 200
        name, key = server.run("user", "rotate-key", user[0]).strip().split(":")

        refused(wire.ask("GET", "/drives/list", user=user), 401, "auth")
        assert wire.ask("GET", "/drives/list", user=(name, key)).status == 200

        server.run("user", "disable", user[0])
        refused(wire.ask("GET", "/drives/list", user=(name, key)), 401, "auth")


def test_each_request_of_a_connection_is_its_own_users(server, caller, stranger, kept):
    with Wire(server) as wire:
        for _ in range(3):
            wire.send(
                request("GET", "/drives/list", user=caller.user)
                + request("GET", "/drives/list", user=stranger.user)
                + request("GET", "/drives/list")
            )
            assert kept in wire.answer().text
            assert kept not in wire.answer().text
            refused(wire.answer(), 401, "auth")


@pytest.mark.parametrize("length", [0, 1, 4 << 20, 10**15])
def test_credentials_are_checked_before_the_body_is_asked_for_25(server, caller, kept, length):
    headers = ["Expect: 100-continue", f"Content-Length: {length}", basic(f"{caller.user[0]}:x")]
    with Wire(server) as wire:
        wire.send(request("POST", f"/drives/{kept}/write", headers=headers))

        answer = wire.answer()

        refused(answer, 401, "auth")
        assert (answer.headers.get("connection") == "close") == (length > 0)


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/drives/{}/write/65536", 507, "full"),
        ("/drives/{}/write/x", 400, "usage"),
        ("/drives/00000000-0000-4000-8000-000000000000/write", 404, "missing"),
        ("/nowhere", 404, "missing"),
        ("/drives/{}/read/0", 404, "missing"),
    ],
)
def test_what_is_refused_anyway_is_refused_before_the_body_is_asked_for(
    server, caller, kept, path, status, word
):
    headers = ["Expect: 100-continue", "Content-Length: 4096"]
    with Wire(server) as wire:
        wire.send(request("POST", path.format(kept), user=caller.user, headers=headers))

        refused(wire.answer(), status, word)
        assert wire.is_closed()


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
def test_a_body_is_asked_for_once_and_then_taken(server, caller, expectation):
    drive = caller.create()
    headers = [f"Expect: {expectation}", "Content-Length: 4096"]
    with Wire(server) as wire:
        for _ in range(2):
            wire.send(request("POST", f"/drives/{drive}/write", user=caller.user, headers=headers))
            assert wire.answer().status == 100
            assert wire.head == b"HTTP/1.1 100 Continue"
            wire.send(b"x" * 4096)
            assert wire.answer().status == 204

    assert caller.read(drive, 4094, 3) == b"xx\0"


def test_http_1_0_has_no_expectations(server, caller):
    drive = caller.create()
    with Wire(server) as wire:
        answer = wire.ask(
            "POST",
            f"/drives/{drive}/write",
            "abc",
            user=caller.user,
            version="1.0",
            headers=["Expect: 100-continue, other"],
        )

        assert answer.status == 204
        assert wire.is_closed()
