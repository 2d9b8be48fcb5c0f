"""Paths, ids and methods: one form of each, and 404 or 405 for everything else.

The numbers in the ids are those of the list of bad inputs that this suite was made from.
"""

import uuid
from urllib.parse import quote

import pytest

from drivebay.http.drives import DriveRoutes
from live import Answer
from wire.exchange import Caller, Wire, refused

NOT_DRIVES = {
    "43-dots": "..",
    "43-dot": ".",
    "43-escaped-dots": "%2e%2e",
    "43-twice-escaped-dots": "%252e%252e",
    "43-climbing": "../../etc/passwd",
    "43-escaped-climbing": "..%2f..%2fetc%2fpasswd",
    "43-backslashes": "..\\..\\etc\\passwd",
    "43-escaped-slash": "%2f",
    "43-escaped-nul": "%00",
    "43-device-name": "CON",
    "43-7-kib": "a" * 7 * 1024,
    "43-star": "*",
    "43-quote": "'--",
    "43-template": "{drive}",
    "45-nil": str(uuid.UUID(int=0)),
    "45-all-f": str(uuid.UUID(int=2**128 - 1)),
    "45-unknown": str(uuid.uuid4()),
    "45-one-digit-more": str(uuid.uuid4()) + "0",
    "52-full-width-digits": quote("\uff10" * 8),
    "52-bad-escape": "%zz",
    "52-half-an-escape": "%4",
}

FORMS = {
    "44-upper-case": str.upper,
    "44-braces": "{{{}}}".format,
    "44-urn": "urn:uuid:{}".format,
    "44-no-dashes": lambda text: text.replace("-", ""),
    "44-blank-behind": "{}%20".format,
    "52-an-escaped-digit": lambda text: f"%3{text[0]}{text[1:]}" if text[0].isdigit() else "%61",
    "52-all-escaped": lambda text: "".join(f"%{ord(letter):02x}" for letter in text),
    "52-twice-escaped": lambda text: "".join(f"%25{ord(letter):02X}" for letter in text),
}

CALLS = [
    ("GET", "/drives/{}/info", None),
    ("POST", "/drives/{}/info", ""),
    ("GET", "/drives/{}/info/full", None),
    ("POST", "/drives/{}/set", "name taken"),
    ("POST", "/drives/{}/destroy", ""),
    ("POST", "/drives/{}/image/{mine}", ""),
    ("POST", "/drives/{mine}/image/{}", ""),
    ("POST", "/drives/{}/image/{mine}/gzip", ""),
    ("POST", "/drives/{mine}/image/{}/gunzip", ""),
    ("POST", "/drives/{}/image/cancel", ""),
    ("POST", "/drives/{}/clone", ""),
    ("POST", "/drives/{}/clone/gunzip", "size 1M"),
    ("GET", "/drives/{}/read/0/1", None),
    ("HEAD", "/drives/{}/read/0/1", None),
    ("POST", "/drives/{}/write", "x"),
    ("POST", "/drives/{}/write/1", "x"),
]

WRONG_BESIDES = [
    ("POST", "/drives/{}/set", "size zero"),
    ("POST", "/drives/{}/set", b"\xff\xfe"),
    ("POST", "/drives/{}/set", "size 1E"),
    ("POST", "/drives/{}/image/{mine}/bzip2", ""),
    ("POST", "/drives/{mine}/image/{}/bzip2", ""),
    ("POST", "/drives/{}/image/{}", ""),
    ("POST", "/drives/{}/clone/bzip2", ""),
    ("POST", "/drives/{}/clone", "size -1"),
    ("GET", "/drives/{}/read/-1/1", None),
    ("GET", "/drives/{}/read/0/5M", None),
    ("GET", "/drives/{}/read/9999T/1", None),
    ("POST", "/drives/{}/write/x", "x"),
    ("POST", "/drives/{}/write/9999T", "x"),
]


def ask(caller: Caller, call: tuple[str, str, bytes | str | None], drive: str, mine: str) -> Answer:
    """Make one of the calls above on *drive*."""
    method, path, body = call
    return caller.ask(method, path.replace("{}", drive).replace("{mine}", mine), body)


@pytest.fixture(scope="module")
def mine(caller) -> str:
    """Another drive of the caller's, as long as the kept one."""
    return caller.create()


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in NOT_DRIVES.items()])
def test_what_is_no_drive_is_404_in_every_call(caller, kept, mine, text):
    for call in CALLS:
        answer = ask(caller, call, text, mine)

        if call[0] == "HEAD":
            assert (answer.status, answer.headers["x-elastic-error"]) == (404, "missing")
        else:
            refused(answer, 404, "missing")


@pytest.mark.parametrize("form", [pytest.param(form, id=name) for name, form in FORMS.items()])
def test_a_drives_uuid_has_one_form(caller, kept, mine, form):
    for call in CALLS:
        assert ask(caller, call, form(kept), mine).status == 404


@pytest.mark.parametrize(
    "call", CALLS + WRONG_BESIDES, ids=lambda call: f"46-{' '.join(map(str, call))}"
)
def test_a_drive_of_another_user_is_answered_like_one_that_is_not_there(
    caller, stranger, kept, call
):
    own = stranger.create()
    nowhere = str(uuid.uuid4())

    theirs, unknown = (ask(stranger, call, drive, own) for drive in (kept, nowhere))

    assert theirs.status == 404
    assert theirs.body.replace(kept.encode(), b"") == unknown.body.replace(nowhere.encode(), b"")
    for answer in (theirs, unknown):
        del answer.headers["date"]
    assert theirs.headers == unknown.headers


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"46-{' '.join(map(str, call))}")
def test_a_reader_may_use_info_read_and_the_drive_as_a_source_and_no_more(
    caller, stranger, drive, call
):
    shared = caller.create(f"size 64k\nreaders {stranger.user[0]}")
    own = stranger.create()
    before = caller.info(shared)
    is_reading = call[1].startswith(("/drives/{}/info", "/drives/{}/read", "/drives/{}/clone"))
    is_source = call[1].startswith("/drives/{mine}/image/{}")

    answer = ask(stranger, call, shared, own)

    if is_reading or is_source:
        assert answer.status in {200, 204}
    else:
        refused(answer, 404, "missing")
        assert caller.info(shared) == before


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/drives",
        "/drives/",
        "/servers/info",
        "/drives/list/all",
        "/drives/info/short",
        "/drives/{}",
        "/drives/{}/",
        "/drives/{}/unknown",
        "/drives/{}/read",
        "/drives/{}/read/0",
        "/drives/{}/read/0/1/2",
        "/drives/{}/write/0/1",
        "/drives/{}/image",
        "/drives/{}/destroy/now",
        "/drives/{}/image/{}/gzip/..",
        "/drives/{}/image/{}/gzip/gzip",
        "/DRIVES/list",
        "/drives/LIST",
        "/%64rives/list",
        "/drives%2flist",
        "/drives/%6cist",
        "/drives\\list",
        "/drives/./list",
        "/drives/x/../list",
        "/debug",
        "/metrics",
        "/docs",
        "/.well-known/security.txt",
    ],
)
def test_what_is_no_call_is_404(caller, kept, path):
    for method in ("GET", "POST"):
        answer = caller.ask(method, path.replace("{}", kept), "" if method == "POST" else None)

        assert refused(answer, 404, "missing") == "command not found\n"


@pytest.mark.parametrize(
    "conversion",
    ["bzip2", "GZIP", "Gunzip", "%67zip", "gzip%20", "none", "0"],
    ids=lambda word: f"50-{word}",
)
def test_what_is_no_conversion_is_refused(caller, kept, mine, conversion):
    for path in (f"/drives/{kept}/image/{mine}", f"/drives/{mine}/clone"):
        answer = caller.ask("POST", f"{path}/{conversion}", "")

        assert "gzip or gunzip" in refused(answer, 400, "usage")


ROUTES = [(route.path, route.methods) for route in DriveRoutes(None, None).routes()]


@pytest.mark.parametrize(
    ("path", "methods"), ROUTES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_other_methods_are_405_and_allow_names_the_right_ones_30(caller, kept, mine, path, methods):
    words = {"source": mine, "conversion": "gzip", "server": mine, "offset": "0", "size": "1"}
    path = path.format(drive=kept, **words)
    others = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"}
    for method in sorted(others - methods):
        answer = caller.ask(method, path)

        assert answer.status == 405, (method, path)
        assert answer.headers["x-elastic-error"] == "method"
        assert answer.headers["allow"] == ", ".join(sorted(methods))
        if method != "HEAD":
            refused(answer, 405, "method")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_description_takes_get_and_head_alone_30(server, method):
    with Wire(server) as wire:
        answer = wire.ask(method, "/openapi.json", "")

        refused(answer, 405, "method")
        assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "header",
    [
        "X-HTTP-Method-Override: POST",
        "X-HTTP-Method: POST",
        "X-Method-Override: POST",
        "X-Original-URL: /drives/{}/destroy",
        "X-Rewrite-URL: /drives/{}/destroy",
    ],
    ids=lambda header: f"30-{header.partition(':')[0]}",
)
def test_headers_that_name_another_method_or_path_are_ignored(caller, kept, header):
    answer = caller.ask("GET", f"/drives/{kept}/destroy", None, header.format(kept))

    refused(answer, 405, "method")


def test_a_get_with_a_body_on_a_call_that_takes_post_is_405_31(caller, kept):
    for call in ("destroy", "set", "write", f"image/{kept}"):
        refused(caller.ask("GET", f"/drives/{kept}/{call}", "size 1"), 405, "method")


@pytest.mark.parametrize(
    "path",
    [
        "/drives/list",
        "//drives/list",
        "/drives//list",
        "///drives///list///",
        "/drives/list/",
        "/drives/list?user=nobody",
        "/drives/list?",
    ],
)
def test_slashes_may_be_doubled_and_a_query_does_not_count(caller, kept, path):
    for method in ("GET", "POST"):
        assert kept in caller.ask(method, path, "").text


def test_a_path_is_told_back_in_printable_ascii_and_shortened(caller, kept):
    answer = caller.ask("GET", f"/drives/{'x' * 200}%0d%0aSet-Cookie:a=b/info")

    sentence = refused(answer, 404, "missing")
    assert sentence == f"drive {'x' * 64} not found\n"
    assert "set-cookie" not in answer.headers
