"""Requests as real clients of this API were seen to send them, header by header."""

import json

import pytest

from live import Answer
from wire.exchange import Caller, Wire, eventually

FORM = "Content-Type: application/x-www-form-urlencoded"
TEXT = "Content-Type: text/plain"
OCTETS = "Content-Type: application/octet-stream"
JSON = "Content-Type: application/json"
WANTS_JSON = "Accept: application/json"
ANY = "Accept: */*"


@pytest.fixture
def user(server) -> Caller:
    """A user who has nothing yet."""
    return Caller(server, server.add_user())


@pytest.mark.parametrize("kind", [FORM, TEXT], ids=["2014", "2016"])
def test_the_vendors_tool_posts_everything_without_a_body(user, kind):
    drive = user.create()
    for path in ("list", "info", f"{drive}/info", f"{drive}/info/full", "list/standard"):
        assert user.ask("POST", f"/drives/{path}", "", kind, ANY).status == 200
    assert drive in user.ask("POST", "/drives/list", "", kind, ANY).text
    assert user.ask("POST", f"/drives/{drive}/destroy", "", kind, ANY).status == 204


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("name TestDrive\nsize 10000000\n", [OCTETS, ANY]),
        ("name img\nsize 10000000\ntier disk", [TEXT, ANY]),
        ("name img\nsize 10000000\nclaim:type exclusive", [TEXT, ANY]),
        ('{"name": "n1", "size": "10000000"}', [JSON, ANY]),
        ("name foo\nsize 10000000", [TEXT, "Accept: text/plain"]),
        ("name foo bar\r\nsize 10000000\r\nuser:basingse 1\r\n", [ANY]),
    ],
    ids=["tool", "upload 2016", "upload 2011", "Cloudways", "jclouds", "Cygwin"],
)
def test_drives_are_created_as_clients_create_them_and_scanned_for_the_uuid(user, body, headers):
    answer = user.ask("POST", "/drives/create", body, *headers)

    assert answer.status == 200
    (line,) = [line for line in answer.text.split("\n") if line.startswith("drive ")]
    assert user.info(line.removeprefix("drive "))["size"] == "10000000"


def test_every_option_of_create_is_taken_at_once_as_jclouds_sends_them(user):
    avoided = user.create("size 1")
    pairs = {
        "name": "foo",
        "size": "10000",
        "claim:type": "shared",
        "readers": "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "tags": "tag1 tag2",
        "user:foo": "bar",
        "user:baz": "raz",
        "encryption:cipher": "aes-xts-plain",
    }

    body = "\n".join(f"{key} {value}" for key, value in pairs.items())
    record = user.ask("POST", "/drives/create", body, TEXT).record

    assert pairs.items() <= record.items()
    assert user.ask("POST", "/drives/create", f"{body}\navoid {avoided}", TEXT).status == 507


def test_libcloud_images_polls_and_destroys_with_empty_json_bodies(user):
    source, drive = user.create("size 1M"), user.create("size 4M")

    def info() -> dict[str, str | int]:
        answer = user.ask("GET", f"/drives/{drive}/info", None, JSON, WANTS_JSON)
        return json.loads(answer.body)

    assert user.ask("POST", f"/drives/{drive}/image/{source}", "", JSON, WANTS_JSON).status == 204
    eventually(lambda: "imaging" not in info())
    assert info()["size"] == 4 << 20
    assert user.ask("POST", f"/drives/{drive}/destroy", "", JSON).status == 204


def test_a_clone_in_json_as_the_last_clients_sent_it(user):
    source = user.create("size 64k")

    answer = user.ask(
        "POST",
        f"/drives/{source}/clone/gunzip",
        '{"name": "a", "size": 10737418240}',
        JSON,
        WANTS_JSON,
    )

    record = json.loads(answer.body)
    assert (record["name"], record["size"]) == ("a", 10737418240)


def test_jclouds_reads_by_post_and_writes_without_a_type(user):
    drive = user.create("size 10000")

    assert user.ask("POST", f"/drives/{drive}/write/2048", "foo").status == 204
    answer = user.ask(
        "POST", f"/drives/{drive}/read/1024/2048", None, "Accept: application/octet-stream"
    )

    assert answer.body == bytes(1024) + b"foo" + bytes(1021)


@pytest.mark.parametrize(
    "path", ["//drives/list", "/drives//list", "/drives/list/", "//drives//list//"]
)
def test_an_end_point_joined_with_one_slash_too_many_is_understood(user, path):
    drive = user.create("size 1")

    assert user.ask("POST", path, "", FORM).text == f"{drive}\n"


def test_a_client_that_closes_each_connection_is_told_so_and_obeyed(user):
    drive = user.create("size 1k")
    with Wire(user.server) as wire:
        answer: Answer = wire.ask(
            "GET", f"/drives/{drive}/info", user=user.user, headers=["connection: close", ANY]
        )

        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_an_accepted_encoding_is_not_used(user):
    drive = user.create()

    answer = user.ask("GET", f"/drives/{drive}/read/0/64k", None, "Accept-Encoding: gzip, deflate")

    assert "content-encoding" not in answer.headers
    assert answer.body == bytes(65536)
