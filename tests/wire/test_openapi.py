"""The OpenAPI description: valid, equal to the routes and to the documents, true of real answers."""

import gzip
import json
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from drivebay.http.drives import DriveRoutes
from drivebay.http.errors import STATUS
from drivebay.units import MIB
from wire.description import DESCRIPTION, FILE, documented_table
from wire.exchange import Caller, Wire, eventually

DOCUMENT = DESCRIPTION.document
COMPONENTS = DOCUMENT["components"]
HTTP_API = (Path(__file__).parents[2] / "docs/http-api.md").read_text()


def test_the_description_is_a_valid_openapi_document():
    validate(DOCUMENT)

    assert DOCUMENT["openapi"].startswith("3.1.")


def test_the_description_is_served_as_it_is_checked_in(server):
    with Wire(server) as wire:
        answer = wire.ask("GET", "/openapi.json")

    assert answer.body == FILE.read_bytes()
    assert answer.headers["content-type"] == "application/json"


def test_the_description_and_the_routes_are_equal():
    routes = {
        (route.path, method)
        for route in DriveRoutes(None, None).routes()
        for method in route.methods
    }

    described = {(path, method.upper()) for path, method, _ in DESCRIPTION.operations()}

    assert described == routes | {("/openapi.json", "GET"), ("/openapi.json", "HEAD")}


def test_get_head_and_post_of_a_reading_call_are_described_alike():
    for item in DOCUMENT["paths"].values():
        if {"get", "post"} <= item.keys():
            assert item["get"]["responses"] == item["post"]["responses"]
            assert {*item["get"]["responses"]} == {*item["head"]["responses"]}
            assert len({item[method]["operationId"] for method in ("get", "head", "post")}) == 3


def test_everything_that_is_described_is_used():
    text = json.dumps(DOCUMENT)
    for kind in ("parameters", "schemas", "responses"):
        for name in COMPONENTS[kind]:
            # Another method is no operation, so nothing but the text can refer to that answer.
            assert f'"#/components/{kind}/{name}"' in text or name == "Method", name


def test_each_operation_says_what_it_is():
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for path, method, operation in DESCRIPTION.operations():
        assert operation["summary"], (path, method)
        assert set(operation["tags"]) <= tags
        assert operation.get("security", DOCUMENT["security"]) == (
            [] if path == "/openapi.json" else [{"basic": []}]
        )


def test_examples_are_what_their_schemas_describe():
    def look(node: object) -> None:
        if isinstance(node, list):
            for item in node:
                look(item)
        elif isinstance(node, dict):
            if "schema" in node and "example" in node:
                DESCRIPTION.conforms(node["example"], node["schema"])
            for example in node.get("examples", []):
                DESCRIPTION.conforms(example, node)
            for item in node.values():
                look(item)

    look(DOCUMENT)


def test_the_record_is_described_key_by_key_as_documented():
    record, create, changed = set(), set(), set()
    for keys, where, _ in documented_table(HTTP_API, "## The drive record"):
        for key in keys.replace("`", "").split():
            places = where.split(", ")
            if key != "avoid":
                record.add(key)
            if "create" in places:
                create.add(key)
            if "set" in places:
                changed.add(key)

    def described(name: str) -> set[str]:
        schema = COMPONENTS["schemas"][name]
        return {*schema["properties"], *(["user:*"] if "patternProperties" in schema else [])}

    assert described("Drive") == record
    assert described("NewDrive") == create
    assert described("Set") == changed


def test_every_status_and_word_is_described_as_documented():
    documented = {
        (int(status), word.strip("`"))
        for statuses, word, _ in documented_table(HTTP_API, "## Errors")
        for status in statuses.split(", ")
    }
    described = {(405, "method")}
    for _, _, operation in DESCRIPTION.operations():
        for status, reference in operation["responses"].items():
            header = DESCRIPTION.followed(reference).get("headers", {}).get("X-Elastic-Error")
            if header is not None:
                described |= {(int(status), word) for word in header["schema"]["enum"]}

    assert described == documented
    assert {(status, str(word)) for status, word in STATUS.values()} <= described


SERVER = "5b4c2f6e-3f0a-4c0e-9b53-0f8c8a0f7a11"

READING = [path for path, item in DOCUMENT["paths"].items() if "post" in item and "get" in item]


@pytest.fixture(scope="module")
def lost(caller) -> str:
    """A drive whose volume is gone."""
    drive = caller.create()
    (caller.server.data / f"stores/default/{drive}.volume").unlink()
    return drive


@pytest.fixture(scope="module")
def failed(caller, drive) -> str:
    """A drive whose imaging failed."""
    failed = caller.create()
    assert caller.ask("POST", f"/drives/{failed}/image/{drive}/gunzip").status == 204
    eventually(lambda: caller.info(failed).get("imaging") == "failed")
    return failed


@pytest.fixture
def names(caller, drive, lost, failed) -> dict[str, str]:
    """What the paths below are filled with; `drive` and `gzip` are the test's own."""
    packed = caller.create("size 64k\nencryption:cipher none")
    held = caller.create("size 64k")
    assert caller.ask("POST", f"/drives/{held}/claim/{SERVER}").status == 200
    caller.write(packed, gzip.compress(b"content"))
    return {
        "drive": caller.create("size 64k\nname a b\ntags x y\nuser:n m\nclaim:type shared\ntier t"),
        "gzip": packed,
        "held": held,
        "server": SERVER,
        "kept": drive,
        "lost": lost,
        "failed": failed,
        "nowhere": "00000000-0000-4000-8000-000000000000",
    }


@pytest.mark.parametrize("accept", ["application/json", "text/plain"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", READING)
def test_reading_calls_answer_as_described(caller, names, path, method, accept):
    for drive in ("drive", "failed", "nowhere"):
        target = path.format(drive=names[drive], offset="1", size="1k")

        answer = caller.ask(method, target, None, f"Accept: {accept}")

        is_there = drive != "nowhere" or "{drive}" not in path
        assert answer.status == (200 if is_there else 404)


# `Caller` judges every answer by the description; here each call meets each status that it has.
CHANGING = [
    ("/drives/create", "size 1k\nname a", 200),
    ("/drives/create", "size 0", 400),
    ("/drives/create", f"size {2**63 - 1}", 507),
    ("/drives/{drive}/set", "name c", 200),
    ("/drives/{drive}/set", "size 128k", 200),
    ("/drives/{drive}/set", "size 7E", 400),
    ("/drives/{drive}/set", f"size {2**63 - 1}", 507),
    ("/drives/{lost}/set", "size 128k", 500),
    ("/drives/{nowhere}/set", "", 404),
    ("/drives/{drive}/image/{gzip}", "", 204),
    ("/drives/{drive}/image/{gzip}/gzip", "", 204),
    ("/drives/{drive}/image/{gzip}/gunzip", "", 204),
    ("/drives/{drive}/image/{failed}", "", 409),
    ("/drives/{drive}/image/{drive}", "", 400),
    ("/drives/{drive}/image/{nowhere}", "", 404),
    ("/drives/{drive}/image/{gzip}/zip", "", 400),
    ("/drives/{drive}/image/cancel", "", 409),
    ("/drives/{nowhere}/image/cancel", "", 404),
    ("/drives/{drive}/clone", "", 200),
    ("/drives/{gzip}/clone/gunzip", "name u", 200),
    ("/drives/{drive}/clone", "size 1", 507),
    ("/drives/{failed}/clone", "", 409),
    ("/drives/{drive}/clone/zip", "", 400),
    ("/drives/{nowhere}/clone/gzip", "", 404),
    ("/drives/{drive}/claim/{server}", "", 200),
    ("/drives/{drive}/claim/{server}", "claim:access read", 200),
    ("/drives/{drive}/claim/{server}", "claim:access all", 400),
    ("/drives/{drive}/claim/me", "", 400),
    ("/drives/{held}/claim/{server}", "", 200),
    ("/drives/{held}/claim/{nowhere}", "", 409),
    ("/drives/{failed}/claim/{server}", "", 500),
    ("/drives/{nowhere}/claim/{server}", "", 404),
    ("/drives/{held}/release/{server}", "", 204),
    ("/drives/{held}/release/{nowhere}", "", 404),
    ("/drives/{drive}/release/me", "", 400),
    ("/drives/{held}/write", "x", 409),
    ("/drives/{held}/destroy", "", 409),
    ("/drives/{drive}/write", "x", 204),
    ("/drives/{drive}/write/1k", "x", 204),
    ("/drives/{drive}/write/1E", "x", 400),
    ("/drives/{drive}/write/1T", "x", 507),
    ("/drives/{lost}/write", "x", 500),
    ("/drives/{drive}/write", None, 411),
    ("/drives/{nowhere}/write/1", "x", 404),
    ("/drives/{drive}/destroy", "", 204),
    ("/drives/{failed}/destroy", "x" * 3_000_000, 400),
    ("/drives/{nowhere}/destroy", "", 404),
]


@pytest.mark.parametrize("accept", ["application/json", "text/plain"])
@pytest.mark.parametrize(("path", "body", "status"), CHANGING)
def test_changing_calls_answer_as_described(caller, names, path, body, status, accept):
    answer = caller.ask("POST", path.format(**names), body, f"Accept: {accept}")

    assert answer.status == status


def test_busy_and_billed_calls_answer_as_described(server):
    user = Caller(server, server.add_user(drives=3, size_bytes=100 * MIB))
    source, *drives = (user.create("size 24M") for _ in range(3))

    for text in ("size 1", "size 101M"):
        assert user.ask("POST", "/drives/create", text).status == 402
    assert user.ask("POST", f"/drives/{source}/set", "size 200M").status == 402
    assert user.ask("POST", f"/drives/{source}/clone").status == 402
    with server.stopped("jobs"):
        for drive in drives:
            assert user.ask("POST", f"/drives/{drive}/image/{source}").status == 204
        for call, body in (("destroy", ""), ("write", "x"), ("set", "size 1M"), ("read/0/1", "")):
            path = f"/drives/{drives[1]}/{call}"
            assert user.ask("POST", path, body, "Accept: application/json").status == 409
        for accept in ("application/json", "text/plain"):
            records = user.ask("GET", "/drives/info/full", None, f"Accept: {accept}").body
            assert b"imaging" in records
            assert b"claimed" in records
        assert user.ask("POST", f"/drives/{drives[1]}/image/cancel").status == 204


def test_every_changing_call_is_made_above():
    made = {DESCRIPTION.template(path) for path, _, status in CHANGING if status < 300}
    changing = {path for path, item in DOCUMENT["paths"].items() if "get" not in item}

    assert changing - made == {"/drives/{drive}/image/cancel"}
