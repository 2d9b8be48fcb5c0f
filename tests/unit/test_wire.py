"""The codecs: what they take, what they refuse, and that they undo one another."""

import contextlib
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.errors import InvalidInput
from drivebay.wire import (
    ErrorWord,
    Record,
    format_json,
    format_text,
    parse_json,
    parse_json_records,
    parse_records,
    parse_text,
    parse_uuid,
)

UUID_TEXT = "0012e24a-6eae-4279-9912-3432f698cec8"

texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.from_regex(r"[a-z][a-z0-9:_.]{0,20}", fullmatch=True) | st.sampled_from(
    ["user:schlüssel", "user:鍵", "read:bytes"]
)
# What text mode can carry: no blank in front, no CR at the end, no backslash that could be taken
# for half of an escaped newline.
text_values = texts.filter(lambda v: v == v.lstrip(" ").rstrip("\r") and "\\" not in v)
numbers = st.integers(0, 2**63)
text_records = st.dictionaries(keys, text_values | numbers, min_size=1)
json_records = st.dictionaries(keys, texts | numbers)


def as_text(record: Record) -> dict[str, str]:
    return {key: str(value) for key, value in record.items()}


class TestText:
    def test_a_line_is_a_key_and_the_rest_is_its_value(self):
        assert parse_text(b"name my first drive\nsize 12G\n") == {
            "name": "my first drive",
            "size": "12G",
        }

    @pytest.mark.parametrize(
        ("body", "parsed"),
        [
            (b"", {}),
            (b"\n\r\n  \n", {}),
            (b"name a", {"name": "a"}),
            (b"name   a b ", {"name": "a b "}),
            (b"name a\r\nsize 1\r\n", {"name": "a", "size": "1"}),
            (b"tags", {"tags": ""}),
            (b"tags \n", {"tags": ""}),
            (b"tags\r\n", {"tags": ""}),
            (b"name a\nname b\n", {"name": "b"}),
            (b"user:note one\\ntwo", {"user:note": "one\ntwo"}),
            (b"name a\tb\x0bc\x0cd\xc2\x85e", {"name": "a\tb\x0bc\x0cd\x85e"}),
            (b"\xef\xbb\xbfname a", {"name": "a"}),
        ],
    )
    def test_spaces_line_ends_and_escapes_are_understood(self, body, parsed):
        assert parse_text(body) == parsed

    @pytest.mark.parametrize(
        "body",
        [
            b" name a",
            b"\tname a",
            b"na\tme a",
            b"na\x00me a",
            b"\x7f a",
            b"name a\n\xff\xfe",
            b"name \xed\xa0\x80",
            b"name \xc0\x80",
            "na\u2028me a".encode(),
            "na\u00a0me a".encode(),
            b"size\r 1",
        ],
    )
    def test_other_keys_and_other_bytes_are_refused(self, body):
        with pytest.raises(InvalidInput):
            parse_text(body)

    def test_a_refused_line_is_named(self):
        with pytest.raises(InvalidInput, match="line 2"):
            parse_text(b"name a\n size 1\n")

    def test_one_record_is_sorted_lines(self):
        record: Record = {"size": 5, "name": "a b", "tags": "", "user:x": "1\n2"}

        assert format_text([record]) == b"name a b\nsize 5\ntags\nuser:x 1\\n2\n"

    def test_a_blank_line_stands_between_records(self):
        assert format_text([{"name": "a"}, {"name": "b"}]) == b"name a\n\nname b\n"
        assert format_text([]) == b""

    def test_records_are_told_apart_by_any_number_of_blank_lines(self):
        body = b"name a\nsize 1\n\r\n\nname b\r\nsize 2\r\n\r\nname c"

        assert [record["name"] for record in parse_records(body)] == ["a", "b", "c"]
        assert parse_records(b"\n\n") == []

    @given(text_records)
    def test_parsing_undoes_formatting(self, record):
        assert parse_text(format_text([record])) == as_text(record)

    @given(st.lists(text_records, max_size=4))
    def test_parsing_undoes_formatting_of_many_records(self, records):
        assert parse_records(format_text(records)) == [as_text(record) for record in records]

    @given(json_records)
    def test_no_value_can_forge_a_line(self, record):
        assert format_text([record]).count(b"\n") == len(record)

    @given(st.binary())
    def test_any_bytes_are_parsed_or_refused(self, body):
        for parse in (parse_text, parse_records):
            with contextlib.suppress(InvalidInput):
                parse(body)


class TestJson:
    @pytest.mark.parametrize(
        ("body", "parsed"),
        [
            (b"", {}),
            (b" \r\n", {}),
            (b"{}", {}),
            (b'{"name": "a b", "size": 160}', {"name": "a b", "size": "160"}),
            (b'{"size": "160G"}', {"size": "160G"}),
            (b'{"user:a": true, "user:b": false}', {"user:a": "true", "user:b": "false"}),
            (b'{"tags": null}', {"tags": ""}),
            (b'{"name": "\\u00e9\\n"}', {"name": "é\n"}),
            (b'{"name": "\\ud83d\\ude00"}', {"name": "😀"}),
            (b'{"size": 18446744073709551615}', {"size": "18446744073709551615"}),
            (b'\xef\xbb\xbf{"name": "a"}', {"name": "a"}),
        ],
    )
    def test_strings_numbers_booleans_and_null_become_text(self, body, parsed):
        assert parse_json(body) == parsed

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b'"text"',
            b"5",
            b"null",
            b"{",
            b"{'a': 1}",
            b'{"a": 1} x',
            b'{"a": 1.0}',
            b'{"a": 1e3}',
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b'{"a": [1]}',
            b'{"a": {"b": 1}}',
            b'{"a": 1, "a": 1}',
            b'{"a": {"b": 1, "b": 2}}',
            b'{"": 1}',
            b'{"a b": 1}',
            b'{"a\\n": 1}',
            b'{"a\\ud800": 1}',
            b'{"a": "\\ud800"}',
            b'{"a": "\\udc00\\ud800"}',
            b'{"a": 111111111111111111111}',
            b'{"a": ' + b"9" * 5000 + b"}",
            b'{"a": 1' + b"0" * 400 + b".5}",
            b"[" * 200_000,
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            b'{"a": "\xff"}',
            "{}".encode("utf-16"),
        ],
        ids=lambda body: repr(body[:24]),
    )
    def test_anything_else_is_refused(self, body):
        with pytest.raises(InvalidInput) as refusal:
            parse_json(body)

        assert str(refusal.value)

    def test_one_record_is_an_object_and_many_are_an_array(self):
        record: Record = {"size": 5, "name": "é"}

        assert format_json(record) == '{"name": "é", "size": 5}\n'.encode()
        assert json.loads(format_json([record, record])) == [record, record]
        assert format_json([]) == b"[]\n"

    @given(json_records)
    def test_parsing_undoes_formatting(self, record):
        assert parse_json(format_json(record)) == as_text(record)
        assert parse_json_records(format_json(record)) == [record]

    @given(st.lists(json_records, max_size=4))
    def test_parsing_undoes_formatting_of_many_records(self, records):
        assert parse_json_records(format_json(records)) == records

    @pytest.mark.parametrize("body", [b"", b"5", b"[1]", b'[{"a": true}]', b'{"a": null}', b"[[]]"])
    def test_a_reply_of_another_shape_is_refused(self, body):
        with pytest.raises(InvalidInput):
            parse_json_records(body)

    @given(
        st.binary()
        | texts.map(str.encode)
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(lambda document: json.dumps(document).encode())
    )
    def test_any_bytes_are_parsed_or_refused(self, body):
        for parse in (parse_json, parse_json_records):
            with contextlib.suppress(InvalidInput):
                parse(body)


class TestUuid:
    def test_the_canonical_form_is_taken(self):
        assert parse_uuid(UUID_TEXT) == UUID(UUID_TEXT)

    @pytest.mark.parametrize(
        "text",
        [
            UUID_TEXT.upper(),
            UUID_TEXT.replace("-", ""),
            "{" + UUID_TEXT + "}",
            "urn:uuid:" + UUID_TEXT,
            UUID_TEXT + "\n",
            " " + UUID_TEXT,
            "\u0660" + UUID_TEXT[1:],
            "",
            "..",
        ],
    )
    def test_every_other_form_is_refused(self, text):
        with pytest.raises(ValueError, match="canonical"):
            parse_uuid(text)


def test_there_are_nine_error_words():
    assert " ".join(ErrorWord) == "usage auth billing missing method busy failed system full"
