"""Commands on drive records: list, show, create, set, destroy."""

import json

import pytest

from cli.runner import Cli
from drivebay.model import EVERYONE

GONE = "0012e24a-6eae-4279-9912-3432f698cec8"


def test_create_prints_the_uuid_and_nothing_else_on_stdout(cli: Cli):
    run = cli.ok("create", "--name", "web", "--size", "3M")

    record = cli.info("web")
    assert run.text == record["drive"] + "\n"
    assert run.err == 'created drive "web", 3 MiB\n'
    assert record["size"] == 3 * 1024 * 1024


def test_create_takes_every_field_of_a_new_drive(cli: Cli):
    other = cli.create("other")

    record = cli.ok(
        *("create", "--name", "db", "--size", "1000", "--tag", "a", "--tag", "b"),
        *("--user-data", "owner=me", "--reader", "all", "--claim-type", "shared"),
        *("--cipher", "none", "--tier", "disk", "--json"),
    ).json

    assert record["size"] == 1000
    assert record["tags"] == "a b"
    assert record["user:owner"] == "me"
    assert record["readers"] == "ffffffff-ffff-ffff-ffff-ffffffffffff"
    assert record["claim:type"] == "shared"
    assert record["encryption:cipher"] == "none"
    assert record["tier"] == "disk"
    assert record["drive"] != other


def test_create_finds_the_drives_to_avoid_by_name(cli: Cli):
    cli.create("other")

    run = cli("create", "--name", "db", "--size", "1M", "--avoid", "other")

    # One store cannot be avoided: the service says so, and the name was understood.
    assert run.status == 7, run
    assert "avoid" in run.err


def test_list_in_a_pipe_is_tabs_without_a_header_and_whole_bytes(cli: Cli):
    web = cli.create("web", "2M", "tags prod x")
    db = cli.create("db", "1025")

    run = cli.ok("list")

    assert run.lines == [f"{db}\tdb\t1025\tactive\t", f"{web}\tweb\t2097152\tactive\tprod x"]
    assert run.err == ""


def test_list_keeps_to_a_tag_and_to_json(cli: Cli):
    web = cli.create("web", "2M", "tags prod")
    cli.create("db")

    (record,) = cli.ok("list", "--tag", "prod", "--json").json

    assert (record["drive"], record["name"], record["size"]) == (web, "web", 2097152)


def test_an_empty_list_says_what_to_do_first(cli: Cli):
    run = cli.ok("list")

    assert run.out == b""
    assert "drivebay create --name NAME --size SIZE" in run.err
    assert cli.ok("list", "--json").json == []


def test_show_by_name_and_by_uuid_is_the_same(cli: Cli):
    web = cli.create("web")

    by_name, by_uuid = cli.ok("show", "web"), cli.ok("show", web.upper())

    assert by_name.text == by_uuid.text
    assert "size\t1048576" in by_name.lines
    assert [line.split("\t")[0] for line in by_name.lines] == sorted(cli.info(web))


def test_a_name_that_two_drives_have_names_neither(cli: Cli):
    first, second = cli.create("web"), cli.create("web")

    run = cli("show", "web")

    assert run.status == 2
    assert 'drivebay: 2 drives are named "web"' in run.err
    assert first in run.err
    assert second in run.err


def test_set_changes_what_is_given_and_leaves_the_rest(cli: Cli):
    web = cli.create("web", "2M", "tags a", "user:k v", f"readers {EVERYONE}")

    run = cli.ok("set", "web", "--name", "www", "--size", "3M", "--user-data", "k=", "--no-readers")

    record = cli.info(web)
    assert (record["name"], record["size"], record["tags"]) == ("www", 3145728, "a")
    assert "user:k" not in record
    assert "readers" not in record
    assert run.err == 'changed drive "www"\n'
    assert "tags" not in cli.ok("set", web, "--no-tags", "--json").json


@pytest.mark.parametrize("words", [[], ["--no-tags", "--tag", "x"], ["--user-data", "k"]])
def test_set_refuses_what_makes_no_sense(cli: Cli, words: list[str]):
    cli.create("web")

    run = cli("set", "web", *words)

    assert run.status == 2
    assert run.err.startswith("drivebay: ")
    assert "hint: " in run.err


def test_shrinking_without_a_terminal_needs_a_yes(cli: Cli):
    cli.create("web.old", "2M")

    refused = cli("set", "web.old", "--size", "1M")

    assert refused.status == 2
    assert 'not without a yes: cut the last 1 MiB off drive "web.old" (' in refused.err
    assert cli.info("web.old")["size"] == 2097152
    cli.ok("set", "web.old", "--size", "1M", "--yes")
    assert cli.info("web.old")["size"] == 1048576


def test_destroy_without_a_terminal_needs_a_yes(cli: Cli):
    cli.create("web")

    refused = cli("destroy", "web")

    assert refused.status == 2
    assert "hint: repeat the command with --yes" in refused.err
    assert len(cli.ok("list").lines) == 1


def test_destroy_takes_several_drives_and_says_which(cli: Cli):
    web, db = cli.create("web"), cli.create("db")

    run = cli.ok("destroy", "--yes", "web", db, "--json")

    assert run.json == [{"drive": web, "name": "web"}, {"drive": db, "name": "db"}]
    assert cli.ok("list").lines == []


def test_destroy_of_one_that_is_missing_destroys_none(cli: Cli):
    cli.create("web")

    assert cli("destroy", "--yes", "web", "no-such").status == 3
    assert len(cli.ok("list").lines) == 1


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_a_dry_run_lists_what_destroy_would_take_and_takes_nothing(cli: Cli, how: list[str]):
    web = cli.create("web")

    run = cli.ok("destroy", "--dry-run", "web", *how)

    if how:
        assert run.json == [{"drive": web, "name": "web"}]
    else:
        assert run.lines == [f"{web}\tweb\t1048576"]
    assert len(cli.ok("list").lines) == 1


def test_a_value_cannot_forge_a_line_nor_turn_the_text_around(cli: Cli):
    note = "first\nstatus\tgone \u202etxt.exe"
    body = json.dumps({"name": "a", "size": 1000, "user:note": note.replace("\t", " ")})
    sent = {"Content-Type": "application/json"}
    assert cli.server.api("POST", "/drives/create", body, user=cli.user, headers=sent).status == 200

    run = cli.ok("show", "a")

    assert "user:note\tfirst status gone txt.exe" in run.lines
    assert cli.info("a")["user:note"] == note.replace("\t", " ")


def test_quiet_says_nothing_and_verbose_says_where_it_calls(cli: Cli):
    assert cli.ok("create", "--name", "a", "--size", "1M", "-q").err == ""
    assert f"calling {cli.server.url} as {cli.user[0]} (DRIVEBAY_TOKEN)" in cli.ok("list", "-v").err


def test_debug_shows_each_request_and_never_a_credential(cli: Cli):
    run = cli.ok("list", "--debug")

    assert f"debug: GET /drives/info/full at {cli.server.url}: 200, " in run.err
    assert cli.user[1] not in run.err
    assert "debug: GET" in cli.ok("list", DRIVEBAY_DEBUG="1").err
    assert "debug: GET" not in cli.ok("list", DRIVEBAY_DEBUG="0").err


def test_verbose_failures_show_the_code_of_the_service(cli: Cli):
    run = cli("show", GONE, "-v")

    assert run.status == 3
    assert "code: missing (HTTP status 404)" in run.err
