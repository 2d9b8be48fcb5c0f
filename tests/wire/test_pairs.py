"""KEY VALUE and JSON bodies: what each key may hold, and that nothing else is ever set.

The numbers in the ids are those of the list of bad inputs that this suite was made from.
"""

import json
import uuid

import pytest

from drivebay.model import (
    EVERYONE,
    KEY_LENGTH_MAX,
    NAME_LENGTH_MAX,
    READERS_MAX,
    TAGS_MAX,
    USER_KEYS_MAX,
    VALUE_LENGTH_MAX,
)
from wire.exchange import refused

JSON = "Content-Type: application/json"
SOMEBODY = str(uuid.UUID(int=7))


def both_refused(caller, drive, body, *headers, says=""):
    """Check that neither create nor set takes *body*."""
    for path in ("/drives/create", f"/drives/{drive}/set"):
        assert says in refused(caller.ask("POST", path, body, *headers), 400, "usage")


@pytest.mark.parametrize(
    "key", ["name", "tags", "tier", "readers", "claim:type", "encryption:cipher", "avoid"]
)
@pytest.mark.parametrize(
    "value",
    ["a\nuser " + SOMEBODY, "a\r\nstatus inactive", "a\r", "a\0b", "a\x1b[31m", "a\x7f", "a\x85b"],
    ids=lambda value: f"53-{value!r}",
)
def test_no_value_can_bring_a_line_of_its_own(caller, kept, key, value):
    body = json.dumps({"size": 65536, key: value})

    both_refused(caller, kept, body, JSON, says=key.partition(":")[0])


def test_a_value_with_an_escaped_line_break_brings_no_line_either_53(caller, kept):
    both_refused(caller, kept, "size 64k\nname a\\nuser nobody", says="name")


@pytest.mark.parametrize(
    "value", ["one\ntwo", "\n\n", "status inactive\nuser nobody", "tab\there"], ids=repr
)
def test_line_breaks_in_user_pairs_are_kept_and_written_as_backslash_n_53(caller, value):
    drive = caller.create()

    caller.ask("POST", f"/drives/{drive}/set", json.dumps({"user:note": value}), JSON)

    answer = caller.ask("GET", f"/drives/{drive}/info")
    assert answer.record["user:note"] == value.replace("\n", "\\n")
    assert answer.record["user"] == caller.user[0]
    document = json.loads(
        caller.ask("GET", f"/drives/{drive}/info", None, "Accept: application/json").body
    )
    assert document["user:note"] == value
    assert caller.ask("POST", f"/drives/{drive}/set", answer.body).status == 200
    assert caller.ask("GET", f"/drives/{drive}/info").body == answer.body


@pytest.mark.parametrize("value", ["a\rb", "a\0b", "a\x1b[2J", "\x9b"], ids=lambda v: f"53-{v!r}")
def test_other_control_characters_in_user_pairs_are_refused(caller, kept, value):
    both_refused(
        caller, kept, json.dumps({"size": 65536, "user:note": value}), JSON, says="user:note"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("drive", SOMEBODY),
        ("user", SOMEBODY),
        ("status", "inactive"),
        ("claimed", SOMEBODY),
        ("imaging", "true"),
        ("imaging:error", "none"),
        ("fault", "none"),
        ("read:bytes", "7"),
        ("read:requests", "7"),
        ("write:bytes", "7"),
        ("write:requests", "0"),
        ("store", "other"),
        ("store:domain", "other"),
        ("media", "cdrom"),
        ("format", "gzip"),
        ("rawsize", "7"),
    ],
    ids=lambda text: f"54-{text}",
)
def test_what_the_service_keeps_cannot_be_set(caller, kept, key, value):
    both_refused(caller, kept, f"size 64k\n{key} {value}", says=key)


@pytest.mark.parametrize(
    "pair",
    ["encryption:cipher none", "tier ssd", f"avoid {SOMEBODY}", "encryption:cipher"],
    ids=lambda pair: f"54-{pair}",
)
def test_what_only_create_takes_cannot_be_set_later(caller, kept, pair):
    answer = caller.ask("POST", f"/drives/{kept}/set", pair)

    refused(answer, 400, "usage")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_record_sent_back_whole_changes_nothing(caller, kept, as_json):
    accept, content_type = ("application/json", JSON) if as_json else ("text/plain", "X: y")
    record = caller.ask("GET", f"/drives/{kept}/info/full", None, f"Accept: {accept}").body

    assert caller.ask("POST", f"/drives/{kept}/set", record, content_type).status == 200


@pytest.mark.parametrize(
    "pair",
    [
        "encryption:key secret",
        "encryption secret",
        "password x",
        "owner nobody",
        "__proto__ x",
        "constructor x",
        "Name shouted",
        "smp 4",
        "x" * 200 + " y",
    ],
    ids=lambda pair: f"54-{pair[:20]}",
)
def test_unknown_keys_are_ignored(caller, kept, pair):
    answer = caller.ask("POST", f"/drives/{kept}/set", pair)

    assert answer.status == 200
    assert pair.partition(" ")[0] not in answer.record


def test_of_equal_keys_in_text_the_last_counts_and_in_json_they_are_refused_55(caller, kept):
    drive = caller.create("size 1k\nname first\nname second\nsize 2k")
    record = caller.info(drive)
    assert (record["name"], record["size"]) == ("second", "2048")

    caller.ask("POST", f"/drives/{drive}/destroy", "")
    both_refused(caller, kept, '{"size": 1, "name": "a", "size": 2}', JSON, says="twice")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(
            "size 1\n" + "\n".join(f"user:{n} x" for n in range(10_000)),
            f"{USER_KEYS_MAX} user:*",
            id="56-10000-keys",
        ),
        pytest.param("size 1\nuser:" + "k" * 1_000_000 + " x", "longer than", id="56-1-mb-key"),
        pytest.param("size 1\nuser:a " + "v" * 1_000_000, "longer than", id="56-1-mb-value"),
        pytest.param("size 1\n" + "user:a x\n" * 300_000, "longer than", id="56-3-mb-of-pairs"),
        pytest.param("size 1\nuser: x", "needs a name", id="56-no-name"),
        pytest.param("size 1\nuser:" + "k" * KEY_LENGTH_MAX + " x", "longer", id="56-long-key"),
        pytest.param(
            "size 1\nuser:a " + "v" * (VALUE_LENGTH_MAX + 1), "longer", id="56-long-value"
        ),
        pytest.param("size 1\nname " + "n" * (NAME_LENGTH_MAX + 1), "longer", id="56-long-name"),
        pytest.param("size 1\ntags " + "t " * (TAGS_MAX + 1), "more than", id="56-many-tags"),
        pytest.param("size 1\ntags " + "t" * (KEY_LENGTH_MAX + 1), "longer", id="56-long-tag"),
        pytest.param("size 1\n\tname x", "line 2", id="56-tab-in-front"),
        pytest.param("size 1\nna\0me x", "line 2", id="56-nul-in-key"),
        pytest.param("size 1\n\u2028name x", "line 2", id="56-line-separator-in-key"),
        pytest.param("size 1\n name x", "line 2", id="56-blank-in-front"),
    ],
)
def test_keys_and_values_that_are_too_many_or_too_long_are_refused(caller, kept, body, says):
    both_refused(caller, kept, body, says=says)


@pytest.mark.parametrize(
    "key",
    ["user:a b", "user:", "user:\t", "user:a\u00a0b", "a b", "", "user:a\x00"],
    ids=lambda key: f"56-{key!r}",
)
def test_keys_with_blanks_and_control_characters_are_refused_in_json(caller, kept, key):
    both_refused(caller, kept, json.dumps({"size": 65536, key: "x"}), JSON)


def test_values_of_the_greatest_length_are_kept_56(caller):
    pairs = {
        "name": "é" * NAME_LENGTH_MAX,
        "tags": " ".join(f"{n:0{KEY_LENGTH_MAX}}" for n in range(TAGS_MAX)),
        "user:" + "k" * (KEY_LENGTH_MAX - 5): "é" * VALUE_LENGTH_MAX,
    }
    drive = caller.create("size 1\n" + "\n".join(f"{key} {value}" for key, value in pairs.items()))

    record = caller.info(drive)

    assert pairs.items() <= record.items()


def test_the_number_of_user_keys_holds_over_many_small_calls_57(caller):
    drive = caller.create("size 1")
    path = f"/drives/{drive}/set"
    for number in range(USER_KEYS_MAX):
        assert caller.ask("POST", path, f"user:{number} x").status == 200

    refused(caller.ask("POST", path, "user:more x"), 400, "usage")

    record = caller.info(drive)
    assert sum(key.startswith("user:") for key in record) == USER_KEYS_MAX
    assert caller.ask("POST", path, "user:0\nuser:more x").status == 200
    refused(caller.ask("POST", path, "user:0 again"), 400, "usage")
    assert caller.ask("POST", path, "user:1 changed").record["user:1"] == "changed"


@pytest.mark.parametrize(
    "value",
    [
        "nobody",
        "*",
        SOMEBODY.upper() + "A",
        SOMEBODY + ",",
        f"{SOMEBODY} x",
        SOMEBODY.replace("-", ""),
    ],
    ids=lambda value: f"58-{value}",
)
@pytest.mark.parametrize("key", ["readers", "avoid"])
def test_lists_of_uuids_take_nothing_else(caller, kept, key, value):
    refused(caller.ask("POST", "/drives/create", f"size 1\n{key} {value}"), 400, "usage")
    refused(caller.ask("POST", f"/drives/{kept}/set", f"{key} {value}"), 400, "usage")


@pytest.mark.parametrize("key", ["readers", "avoid"])
def test_ten_thousand_uuids_are_too_many_58(caller, kept, key):
    many = " ".join(str(uuid.UUID(int=number)) for number in range(10_000))

    both_refused(caller, kept, f"size 1\n{key} {many}")


def test_readers_are_kept_in_order_once_each_and_everybody_includes_the_others_58(caller):
    readers = [str(uuid.UUID(int=number)) for number in range(READERS_MAX)]
    drive = caller.create("size 1\nreaders " + "  ".join([*readers[:-1], readers[0], ""]))
    assert caller.info(drive)["readers"].split(" ") == readers[:-1]

    record = caller.ask("POST", f"/drives/{drive}/set", f"readers {readers[0]} {EVERYONE}").record

    assert record["readers"] == EVERYONE
    assert "readers" not in caller.ask("POST", f"/drives/{drive}/set", "readers").record


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "=cmd|'/c calc'!A0",
        "\u202egpj.exe",
        "%s%s%n",
        "../../etc/passwd",
        "'; DROP TABLE drives;--",
        "a\\b",
        "\U0001f4be \U0001d54f",
        "trailing blank ",
        "%0Auser nobody",
        "%",
    ],
    ids=lambda text: f"59-63-{text!a}",
)
def test_text_is_kept_literally(caller, text):
    drive = caller.create("size 1")
    pairs = {"name": text, "user:note": text, "tags": text}

    answer = caller.ask(
        "POST", f"/drives/{drive}/set", json.dumps(pairs), JSON, "Accept: application/json"
    )

    record = json.loads(answer.body)
    assert (record["name"], record["user:note"]) == (text, text)
    assert record["tags"] == " ".join(text.split())
    assert f"name {text}\n" in caller.ask("GET", f"/drives/{drive}/info").text


def test_avoid_answers_the_same_for_foreign_and_for_missing_drives_60(caller, stranger, kept):
    theirs, nowhere = stranger.create(), str(uuid.uuid4())

    answers = [
        caller.ask("POST", "/drives/create", f"size 1\navoid {kept} {d}") for d in (theirs, nowhere)
    ]

    sentences = [refused(answer, 400, "usage") for answer in answers]
    assert sentences[0].replace(theirs, "") == sentences[1].replace(nowhere, "")


@pytest.mark.parametrize("value", ["aes-cbc", "", "none ", "NONE", "aes-xts-plain64", "none none"])
def test_other_ciphers_are_refused_61(caller, kept, value):
    refused(
        caller.ask("POST", "/drives/create", f"size 1\nencryption:cipher {value}"), 400, "usage"
    )


@pytest.mark.parametrize("value", ["", "Shared", "exclusive shared", "none"])
def test_other_claim_types_are_refused(caller, kept, value):
    both_refused(caller, kept, f"size 1\nclaim:type {value}", says="exclusive or shared")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("[" * 100_000, id="62-deep"),
        pytest.param('{"a":' * 50_000 + "1" + "}" * 50_000, id="62-deep-objects"),
        pytest.param('{"size": 1, "user:a": {"b": "c"}}', id="62-nested"),
        pytest.param('{"size": 1, "tags": ["a", "b"]}', id="62-array"),
        pytest.param('{"size": 1, "user:a": 1.5}', id="62-fraction"),
        pytest.param('{"size": 1, "user:a": NaN}', id="62-nan"),
        pytest.param('{"size": ' + "9" * 5000 + "}", id="62-5000-digits"),
        pytest.param('[{"size": 1}]', id="62-list"),
        pytest.param('"size"', id="62-string"),
        pytest.param("null", id="62-null"),
        pytest.param('{"size": 1', id="62-cut"),
        pytest.param('{"size": 1} {"size": 2}', id="62-two-documents"),
        pytest.param("size 1", id="62-text"),
        pytest.param('{"size": 1, "name": "\\ud800"}', id="51-lone-surrogate"),
        pytest.param('{"size": 1, "user:\\udc00": "x"}', id="51-lone-surrogate-in-key"),
        pytest.param(b'{"size": 1, "name": "\xff"}', id="51-invalid-utf-8"),
        pytest.param('{"size": 1}'.encode("utf-16"), id="51-utf-16"),
    ],
)
@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=latin-1", "text/json"]
)
def test_json_that_is_no_object_of_plain_values_is_refused(caller, kept, body, kind):
    both_refused(caller, kept, body, f"Content-Type: {kind}")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"size 1\nname \xff\xfe", id="51-invalid"),
        pytest.param(b"size 1\nname \xc0\xaf", id="51-over-long"),
        pytest.param(b"size 1\nname \xe2\x82", id="51-cut"),
        pytest.param(b"size 1\nname \xed\xa0\x80", id="51-surrogate"),
        pytest.param(b"size 1\nname \xf4\x90\x80\x80", id="51-past-unicode"),
        pytest.param("size 1\nname a".encode("utf-16"), id="51-utf-16"),
        pytest.param(bytes(range(256)), id="64-binary"),
        pytest.param(b"\x1f\x8b\x08" + bytes(range(200)), id="64-gzip"),
        pytest.param(b"\0" * 1000, id="64-zeros"),
    ],
)
def test_bodies_that_are_no_text_are_refused(caller, kept, body):
    both_refused(caller, kept, body)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/html",
        "nonsense",
        "",
    ],
    ids=lambda kind: f"64-{kind}",
)
def test_every_other_type_is_taken_for_text(caller, kind):
    headers = [f"Content-Type: {kind}"] if kind else []

    answer = caller.ask("POST", "/drives/create", "name of any type\nsize 1k", *headers)

    assert (answer.status, answer.record["name"]) == (200, "of any type")
