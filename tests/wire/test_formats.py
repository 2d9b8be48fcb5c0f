"""What answers look like, byte by byte, and which inputs are read alike."""

import json

import pytest

from wire.conftest import CONTENT
from wire.exchange import Caller, Wire, request

JSON = "Accept: application/json"


@pytest.fixture
def fresh(server) -> Caller:
    """A user who has nothing yet."""
    return Caller(server, server.add_user())


def head_of(caller: Caller, method: str, path: str, body=None, *headers: str) -> list[bytes]:
    """Return an answer's head, its date left out and its headers sorted."""
    with Wire(caller.server) as wire:
        wire.ask(method, path, body, user=caller.user, headers=headers)
        first, *lines = wire.head.split(b"\r\n")
    return [first, *sorted(line for line in lines if not line.startswith(b"date: "))]


TEXT_RECORD = """\
claim:type shared
drive {drive}
encryption:cipher aes-xts-plain
name my first drive
read:bytes 0
read:requests 0
readers ffffffff-ffff-ffff-ffff-ffffffffffff
size 12288
status active
tags one two
tier ssd
user {user}
user:note a\\nb
user:zone lon-p
write:bytes 3
write:requests 1
"""

CREATE = """\
tier ssd
name my first drive
size 12k
readers ffffffff-ffff-ffff-ffff-ffffffffffff
claim:type shared
tags one  two
user:zone lon-p
user:note a\\nb"""


def test_one_record_in_text(fresh):
    drive = fresh.create(CREATE)
    fresh.write(drive, b"abc")
    expected = TEXT_RECORD.format(drive=drive, user=fresh.user[0]).encode()

    for path in (f"/drives/{drive}/info", "/drives/info"):
        assert fresh.ask("GET", path).body == expected
        assert head_of(fresh, "GET", path) == [
            b"HTTP/1.1 200 OK",
            b"content-length: %d" % len(expected),
            b"content-type: text/plain; charset=utf-8",
            b"x-elastic-output: properties",
        ]


def test_one_record_in_json(fresh):
    drive = fresh.create(CREATE)
    fresh.write(drive, b"abc")
    lines = TEXT_RECORD.format(drive=drive, user=fresh.user[0]).splitlines()
    record = dict(line.split(" ", 1) for line in lines)
    record |= {"size": 12288, "user:note": "a\nb"}
    expected = json.dumps(record).encode() + b"\n"

    for path, body in [
        (f"/drives/{drive}/info", expected),
        ("/drives/info", b"[" + expected[:-1] + b"]\n"),
    ]:
        assert fresh.ask("GET", path, None, JSON).body == body
        assert head_of(fresh, "GET", path, None, JSON) == [
            b"HTTP/1.1 200 OK",
            b"content-length: %d" % len(body),
            b"content-type: application/json",
        ]


def test_the_answers_of_create_set_and_clone_are_the_record(fresh):
    created = fresh.ask("POST", "/drives/create", "name a\nsize 1k")
    drive = created.record["drive"]
    assert created.body == fresh.ask("GET", f"/drives/{drive}/info").body

    changed = fresh.ask(
        "POST", f"/drives/{drive}/set", '{"size": 2048}', "Content-Type: application/json", JSON
    )
    assert changed.body == fresh.ask("GET", f"/drives/{drive}/info", None, JSON).body
    assert json.loads(changed.body)["size"] == 2048

    cloned = fresh.ask("POST", f"/drives/{drive}/clone", "").record
    assert (cloned["name"], cloned["size"], cloned["claimed"]) == ("a", "2048", drive)
    assert cloned["imaging"] in {"queued", "true"}


def test_an_empty_name_is_a_line_of_its_own(fresh):
    drive = fresh.create("size 1")

    answer = fresh.ask("GET", f"/drives/{drive}/info")

    assert b"\nname\n" in answer.body
    assert json.loads(fresh.ask("GET", f"/drives/{drive}/info", None, JSON).body)["name"] == ""


def test_several_records_have_a_blank_line_between_two(fresh):
    drives = [fresh.create(f"size {size}") for size in (1, 2, 3)]

    answer = fresh.ask("GET", "/drives/info")

    single = [fresh.ask("GET", f"/drives/{drive}/info").body for drive in drives]
    assert answer.body == b"\n".join(single)
    assert answer.headers["x-elastic-output"] == "properties"
    document = json.loads(fresh.ask("GET", "/drives/info", None, JSON).body)
    assert [record["drive"] for record in document] == drives


def test_lists_are_uuids_a_line_oldest_first(fresh):
    drives = [fresh.create("size 1") for _ in range(3)]

    assert fresh.ask("GET", "/drives/list").body == "".join(f"{d}\n" for d in drives).encode()
    assert head_of(fresh, "GET", "/drives/list")[-1] == b"x-elastic-output: list"
    document = json.loads(fresh.ask("GET", "/drives/list", None, JSON).body)
    assert document == [{"drive": drive, "uuid": drive} for drive in drives]


@pytest.mark.parametrize("path", ["list", "info", "info/full"])
def test_nothing_is_an_empty_text_and_an_empty_array(fresh, path):
    assert fresh.ask("GET", f"/drives/{path}").body == b""
    assert fresh.ask("GET", f"/drives/{path}", None, JSON).body == b"[]\n"


@pytest.mark.parametrize("call", ["destroy", "image/{}", "write"])
@pytest.mark.parametrize("accept", [JSON, "Accept: */*"])
def test_204_has_neither_body_nor_type(fresh, call, accept):
    drive, other = fresh.create("size 1k"), fresh.create("size 1k")

    head = head_of(fresh, "POST", f"/drives/{drive}/{call.format(other)}", "", accept)

    assert head == [b"HTTP/1.1 204 No Content"]


def test_a_read_is_octets_of_exactly_the_length(caller, drive):
    for method in ("GET", "POST"):
        for accept in ("*/*", "application/json", "application/octet-stream", "image/png"):
            answer = caller.ask(
                method,
                f"/drives/{drive}/read/250/10",
                "" if method == "POST" else None,
                f"Accept: {accept}",
                "Accept-Encoding: gzip, deflate",
            )
            assert answer.body == CONTENT[250:260]
    assert head_of(caller, "GET", f"/drives/{drive}/read/250/10") == [
        b"HTTP/1.1 200 OK",
        b"content-length: 10",
        b"content-type: application/octet-stream",
    ]


@pytest.mark.parametrize("accept", [[], [JSON], ["Accept: image/png"]], ids=["none", "json", "png"])
def test_an_error_is_a_sentence_in_text_whatever_accept_says(caller, kept, accept):
    assert head_of(caller, "POST", f"/drives/{kept}/image/cancel", "", *accept) == [
        b"HTTP/1.1 409 Conflict",
        b"content-length: %d"
        % (len(kept) + len("drive  is busy: no imaging is underway to be cancelled\n")),
        b"content-type: text/plain; charset=utf-8",
        b"x-elastic-error: busy",
    ]


READING = [
    "/drives/list",
    "/drives/list/standard",
    "/drives/standard/list",
    "/drives/info",
    "/drives/info/full",
    "/drives/info/standard",
    "/drives/standard/info",
    "/drives/{}/info",
    "/drives/{}/info/full",
    "/drives/{}/read/0/100",
]


@pytest.mark.parametrize("path", READING)
def test_reading_calls_take_post_with_any_body_of_any_type(caller, drive, path):
    path = path.format(drive)
    before = caller.ask("GET", path)
    bodies = [None, "", "name x", b"\xff\0", "{}", "x" * 100_000]
    kinds = ["application/json", "application/x-www-form-urlencoded", "application/octet-stream"]
    for number, body in enumerate(bodies):
        answer = caller.ask("POST", path, body, f"Content-Type: {kinds[number % 3]}")

        assert answer.status == 200
        if "info" not in path:
            assert answer.body == before.body


@pytest.mark.parametrize("path", [*READING, "/openapi.json"])
def test_head_is_get_without_the_body(caller, drive, path):
    path = path.format(drive)
    for accept in ("text/plain", "application/json"):
        get = head_of(caller, "GET", path, None, f"Accept: {accept}")
        head = head_of(caller, "HEAD", path, None, f"Accept: {accept}")
        assert head == get


def test_head_of_a_read_is_not_counted_and_checks_what_a_read_checks(caller, drive):
    before = caller.info(drive)
    with Wire(caller.server) as wire:
        for path, status in [("0/10", 200), ("0/5M", 400), ("65536/1", 400), ("x/1", 400)]:
            answer = wire.ask("HEAD", f"/drives/{drive}/read/{path}", user=caller.user)
            assert answer.status == status
    assert caller.info(drive) == before


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ([], False),
        (["Accept:"], False),
        (["Accept: */*"], False),
        (["Accept: text/plain"], False),
        (["Accept: text/*"], False),
        (["Accept: image/png"], False),
        (["Accept: application/*"], False),
        (["Accept: application/octet-stream"], False),
        (["Accept: application/json"], True),
        (["Accept: APPLICATION/JSON"], True),
        (["Accept: application/json; charset=utf-8"], True),
        (["Accept: application/json, text/plain, */*"], True),
        (["Accept: application/json, */*; q=0.5"], True),
        (["Accept: text/plain, application/json"], False),
        (["Accept: text/plain;q=0.1, application/json;q=0.2"], True),
        (["Accept: application/json;q=0"], False),
        (["Accept: application/json;q=0, */*"], False),
        (["Accept: application/json;q=x"], False),
        (["Accept: ,;,;q=1"], False),
        (["Accept: application/json;q=nan"], False),
        (["Accept: image/png", "Accept: application/json"], True),
    ],
    ids=lambda value: ", ".join(value) or "none" if isinstance(value, list) else "",
)
def test_accept_alone_chooses_the_format_and_text_is_the_default(caller, drive, accept, is_json):
    answer = caller.ask(
        "GET", f"/drives/{drive}/info", None, *accept, "Content-Type: application/json"
    )

    assert answer.headers["content-type"].startswith(
        "application/json" if is_json else "text/plain"
    )
    assert answer.body.startswith(b"{" if is_json else b"drive ")


@pytest.mark.parametrize(
    "body",
    [
        "name a b\nsize 1024\ntags x y\n",
        "name a b\nsize 1024\ntags x y",
        "name a b\r\nsize 1024\r\ntags x y\r\n",
        "\n\nname a b\n\r\n\nsize 1024\ntags x y\n\n",
        "name    a b\nsize     1024\ntags x     y",
        "size 1k\ntags  x y  \nname a b",
        "\ufeffname a b\nsize 1024\ntags x y",
        '{"name": "a b", "size": "1k", "tags": "x y"}',
        '{"name": "a b", "size": 1024, "tags": "x y", "avoid": null, "unknown": true}',
        ' \r\n{"tags":"x y","size":1024,"name":"a b"}\n',
    ],
    ids=range(10),
)
def test_bodies_that_mean_the_same_make_the_same_drive(fresh, body):
    kind = "application/json" if "{" in body else "text/plain"

    record = fresh.ask("POST", "/drives/create", body, f"Content-Type: {kind}").record

    assert (record["name"], record["size"], record["tags"]) == ("a b", "1024", "x y")


@pytest.mark.parametrize("call", ["destroy", "set", "image/{}", "image/{}/gunzip", "clone"])
@pytest.mark.parametrize("body", [None, "", " \r\n"], ids=["none", "empty", "blank"])
def test_an_empty_json_body_is_taken_where_no_key_is_needed(fresh, call, body):
    drive, other = fresh.create("size 1k"), fresh.create("size 1k")

    answer = fresh.ask(
        "POST",
        f"/drives/{drive}/{call.format(other)}",
        body,
        "Content-Type: application/json",
        JSON,
    )

    assert answer.status == (200 if call in {"set", "clone"} else 204)


def test_json_values_may_be_strings_numbers_or_booleans(fresh):
    body = '{"size": "1k", "user:a": 7, "user:b": true, "user:c": false, "user:d": -1}'

    record = fresh.ask("POST", "/drives/create", body, "Content-Type: application/json").record

    assert [record[f"user:{key}"] for key in "abcd"] == ["7", "true", "false", "-1"]


def test_a_json_body_may_be_answered_in_text(fresh):
    answer = fresh.ask("POST", "/drives/create", '{"size": 5}', "Content-Type: application/json")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.record["size"] == "5"


def test_standard_drives_are_listed_under_both_spellings_and_not_among_ones_own(server, fresh):
    drive = server.create("name Debian\nsize 64k\nclaim:type shared")
    server.run("standard", "add", drive, "--gzip", "--rawsize", "1M")
    try:
        for what in ("list", "info"):
            one, two = (
                fresh.ask("GET", f"/drives/{a}/{b}", None, JSON)
                for a, b in [(what, "standard"), ("standard", what)]
            )
            assert one.body == two.body
            records = [record for record in json.loads(one.body) if record["drive"] == drive]
            assert len(records) == 1
        (record,) = records
        assert (record["media"], record["format"], record["rawsize"]) == ("disk", "gzip", "1048576")
        assert record["readers"] == "ffffffff-ffff-ffff-ffff-ffffffffffff"
        assert drive not in fresh.ask("GET", "/drives/list").text
        assert fresh.read(drive, 0, 1) == b"\0"
    finally:
        server.run("standard", "remove", drive)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_http_1_0_is_answered_and_closed(server, caller, drive, version):
    with Wire(server) as wire:
        answer = wire.ask("GET", f"/drives/{drive}/read/0/5", user=caller.user, version=version)

        assert answer.body == CONTENT[:5]
        assert answer.headers.get("connection") == ("close" if version == "1.0" else None)
        if version == "1.0":
            assert wire.is_closed()


def test_nothing_but_the_api_is_told(server, caller, drive):
    with Wire(server) as wire:
        answer = wire.send(request("GET", "/drives/list", user=caller.user)).answer()

    assert set(answer.headers) == {"date", "content-length", "content-type", "x-elastic-output"}
