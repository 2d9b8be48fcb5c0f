"""Answers in text and JSON, and which of them a caller prefers."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from drivebay.http import replies

ONE, OTHER = UUID(int=1), UUID(int=2)
RECORD = {"name": "a b", "size": 5, "user:note": "1\n2"}

TEXT = Headers()
JSON = Headers({"accept": "application/json"})


def accepting(*values: str) -> Headers:
    return Headers(raw=[(b"accept", value.encode("latin-1")) for value in values])


class TestPreference:
    @pytest.mark.parametrize(
        "accept",
        [
            "application/json",
            "Application/JSON",
            " application/json ",
            "application/json; charset=utf-8",
            "application/json;q=0.1",
            "application/json;charset=utf-8;q=0.5, text/plain;q=0.4",
            "application/json, text/plain, */*",
            "application/json, text/plain;q=0.9",
            "text/plain;q=0.5, application/json",
            "text/plain; q = 0.5, application/json; q = 0.6",
            "text/html, application/json;q=0.2",
            "text/plain;q=0, application/json",
            ",,application/json,,",
        ],
    )
    def test_json_is_given_to_whom_prefers_it(self, accept):
        assert replies.wants_json(accepting(accept))

    @pytest.mark.parametrize(
        "accept",
        [
            "",
            "*/*",
            "text/plain",
            "text/*",
            "text/html",
            "application/xml",
            "application/json-patch+json",
            "application/jsonx",
            "json",
            "text/plain, application/json",
            "*/*, application/json",
            "application/json;q=0",
            "application/json;q=0.0, */*;q=0",
            "application/json;q=x",
            "application/json;q=",
            "application/json;q=nan",
            "application/json;q=-1",
            "application/json;q=0.4, text/plain;q=0.5",
            ";",
            ";q=1",
        ],
    )
    def test_everybody_else_is_given_text(self, accept):
        assert not replies.wants_json(accepting(accept))

    def test_several_header_lines_are_one_list(self):
        assert replies.wants_json(accepting("text/html", "application/json"))
        assert replies.wants_json(accepting("text/plain;q=0.5", "application/json;q=0.6"))
        assert not replies.wants_json(accepting("text/plain", "application/json"))
        assert not replies.wants_json(Headers())

    @given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
    def test_any_header_is_understood_or_ignored(self, values):
        assert replies.wants_json(accepting(*values)) in {True, False}


class TestBodies:
    def test_one_drive_is_lines_or_an_object(self):
        text, document = replies.one(TEXT, RECORD), replies.one(JSON, RECORD)

        assert text.body == b"name a b\nsize 5\nuser:note 1\\n2\n"
        assert text.headers["content-type"] == "text/plain; charset=utf-8"
        assert text.headers["x-elastic-output"] == "properties"
        assert json.loads(document.body) == RECORD
        assert document.headers["content-type"] == "application/json"
        assert "x-elastic-output" not in document.headers

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_several_drives_are_records_or_an_array(self, count):
        text, document = replies.many(TEXT, [RECORD] * count), replies.many(JSON, [RECORD] * count)

        assert text.body == b"\n".join([b"name a b\nsize 5\nuser:note 1\\n2\n"] * count)
        assert text.headers["x-elastic-output"] == "properties"
        assert json.loads(document.body) == [RECORD] * count

    def test_a_list_is_lines_or_an_array_with_both_names(self):
        text, document = replies.uuids(TEXT, [ONE, OTHER]), replies.uuids(JSON, [ONE, OTHER])

        assert text.body == f"{ONE}\n{OTHER}\n".encode()
        assert text.headers["x-elastic-output"] == "list"
        assert json.loads(document.body) == [
            {"drive": str(ONE), "uuid": str(ONE)},
            {"drive": str(OTHER), "uuid": str(OTHER)},
        ]

    def test_an_empty_list_is_empty(self):
        assert replies.uuids(TEXT, []).body == b""
        assert json.loads(replies.uuids(JSON, []).body) == []

    def test_nothing_is_no_content(self):
        response = replies.nothing()

        assert (response.status_code, response.body) == (204, b"")
