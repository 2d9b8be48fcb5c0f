"""The operator's commands: they work on a data folder, while the service runs or not."""

import re
from pathlib import Path

import pytest

from cli.runner import Cli
from drivebay import folder, settings
from drivebay.catalog import drives as drive_rows
from drivebay.catalog import users as user_rows
from drivebay.model import User
from drivebay.service import accounts
from drivebay.wire import parse_uuid
from live import Server

GONE = "0012e24a-6eae-4279-9912-3432f698cec8"
TOKEN = re.compile(r"[0-9a-f-]{36}:[A-Za-z0-9_-]{43}\n")


@pytest.fixture
def operator(cli: Cli, server: Server) -> Cli:
    """The command line with the shared service's data folder in the environment."""
    cli.extra["DRIVEBAY_DATA"] = str(server.data)
    return cli


@pytest.fixture
def alone(cli: Cli) -> Cli:
    """The command line with a data folder of its own, which no service has seen."""
    cli.extra["DRIVEBAY_DATA"] = str(cli.folder / "data")
    return cli


def _user(cli: Cli, name: str) -> dict:
    (row,) = (row for row in cli.ok("user", "list", "--json").json if row["name"] == name)
    return row


def _users(cli: Cli) -> list[User]:
    catalog = folder.catalog_of(cli.folder / "data")
    with catalog.read() as tx:
        users = user_rows.listed(tx)
    catalog.close()
    return users


def _add_twins(cli: Cli) -> list[User]:
    """Make a data folder with two users of one name."""
    folder.prepare(cli.folder / "data")
    catalog = folder.catalog_of(cli.folder / "data")
    with catalog.write() as tx:
        for _ in range(2):
            accounts.add(tx, "twin", drives=None, size_bytes=None)
    catalog.close()
    return _users(cli)


def _status(cli: Cli, token: str) -> int:
    return cli("list", DRIVEBAY_TOKEN=token).status


class TestUsers:
    def test_add_makes_the_folder_and_prints_the_token_alone(self, alone: Cli):
        run = alone.ok("user", "add", "alice")

        assert TOKEN.fullmatch(run.text)
        assert run.err == ""
        user, _, key = run.text.strip().partition(":")
        assert alone.ok("user", "list").lines == [f"{user}\talice\ttrue\t0\t-\t0\t-"]
        assert key not in alone.ok("user", "list", "--json").text

    def test_add_speaks_json_and_a_name_may_be_left_out(self, alone: Cli):
        added = alone.ok("user", "add", "--json").json

        assert set(added) == {"user", "name", "key"}
        assert added["name"] == ""
        assert [row["user"] for row in alone.ok("user", "list", "--json").json] == [added["user"]]

    def test_a_user_that_is_added_is_answered_at_once(self, operator: Cli):
        token = operator.ok("user", "add", "alice").text.strip()

        assert _status(operator, token) == 0

    def test_a_disabled_user_is_refused_until_enabled(self, operator: Cli):
        user = operator.user[0]

        disabled = operator.ok("user", "disable", user, "--json").json
        refused = operator("list").status
        enabled = operator.ok("user", "enable", user)

        assert (disabled["user"], disabled["enabled"]) == (user, False)
        assert refused == 4
        assert (enabled.out, operator("list").status) == (b"", 0)

    def test_a_rotated_key_replaces_the_old_one_at_once(self, operator: Cli):
        old = ":".join(operator.user)

        run = operator.ok("user", "rotate-key", operator.user[0])
        as_json = operator.ok("user", "rotate-key", operator.user[0], "--json").json

        assert TOKEN.fullmatch(run.text)
        assert run.text.startswith(operator.user[0])
        assert _status(operator, old) == 4
        assert _status(operator, run.text.strip()) == 4
        assert _status(operator, f"{as_json['user']}:{as_json['key']}") == 0

    def test_a_quota_binds_from_now_on_and_may_be_lifted(self, operator: Cli):
        operator.create("web", "4M")

        row = operator.ok(
            *("user", "quota", operator.user[0], "--drives", "2", "--bytes", "5M", "--json")
        ).json
        refused = operator("create", "--size", "2M")
        operator.ok("user", "quota", operator.user[0], "--bytes", "none")
        fits = operator("create", "--size", "2M")
        past = operator("create", "--size", "1")

        assert (row["drives"], row["quota_drives"]) == (1, 2)
        assert (row["bytes"], row["quota_bytes"]) == (4194304, 5242880)
        assert [run.status for run in (refused, fits, past)] == [7, 0, 7]
        assert "quota" in refused.err

    def test_list_on_a_terminal_is_a_table_for_people(self, alone: Cli):
        alone.ok("user", "add", "alice")
        alone.ok("user", "quota", "alice", "--bytes", "100G", "--drives", "3")

        run = alone.terminal("user", "list", NO_COLOR="1")

        header, row = run.lines
        assert header.split() == ["USER", "NAME", "ON", "DRIVES", "MAX", "BYTES", "MAX"]
        assert row.split()[1:] == ["alice", "true", "0", "3", "0", "B", "100", "GiB"]
        assert max(map(len, run.lines)) <= 80

    @pytest.mark.parametrize(
        ("words", "status", "sentence"),
        [
            (["disable", "nobody"], 3, "there is no user nobody"),
            (["enable", GONE], 3, f"there is no user {GONE}"),
            (["rotate-key", "nobody\x1b[31m"], 3, "there is no user nobody[31m"),
            (["disable", "twin"], 1, "2 users are called twin"),
            (["quota", "twin", "--drives", "-1"], 2, "'-1' is not a byte count"),
            (["quota", "twin", "--bytes", "many"], 2, "'many' is not a byte count"),
            (["add", "a\nb"], 2, "NAME is up to 255 characters that can be printed"),
            (["add", "a" * 256], 2, "NAME is up to 255 characters that can be printed"),
            (["add", "\udcff"], 2, "NAME is up to 255 characters that can be printed"),
        ],
    )
    def test_what_cannot_be_done_is_said(
        self, alone: Cli, inside, words, status: int, sentence: str
    ):
        before = _add_twins(alone)

        run = inside("user", *words)

        assert (run.status, run.out) == (status, b"")
        assert sentence in run.err
        assert _users(alone) == before


class TestFolders:
    @pytest.mark.parametrize("command", [["user", "list"], ["standard", "list"], ["fault", "list"]])
    def test_a_folder_that_is_none_is_not_made(self, alone: Cli, inside, command: list[str]):
        run = inside(*command)

        assert run.status == 3
        assert f"{alone.folder}/data is no data folder" in run.err
        assert not (alone.folder / "data").exists()

    def test_a_folder_that_cannot_be_made_is_a_sentence(self, inside):
        run = inside("user", "add", "--data", "/dev/null/x")

        assert run.status == 1
        assert "the data folder /dev/null/x cannot be made" in run.err

    def test_flag_comes_before_variable_and_variable_before_file(self, cli: Cli):
        config = cli.folder / "serve.toml"
        config.write_text(f'[serve]\ndata = "{cli.folder}/file"\nquota_drives = 7\n')
        words = ("user", "add", "a", "--config", "serve.toml")

        cli.ok(*words)
        cli.ok(*words, DRIVEBAY_DATA="variable", DRIVEBAY_QUOTA_BYTES="1G")
        cli.ok(*words, "--data", "flag", DRIVEBAY_DATA="variable", DRIVEBAY_QUOTA_DRIVES="8")

        quotas = {
            name: [
                (row["quota_drives"], row["quota_bytes"])
                for row in cli.ok("user", "list", "--data", name, "--json").json
            ]
            for name in ("file", "variable", "flag")
        }
        assert quotas == {"file": [(7, None)], "variable": [(7, 2**30)], "flag": [(8, None)]}

    def test_the_configuration_may_come_from_the_environment(self, cli: Cli):
        (cli.folder / "serve.toml").write_text('[serve]\ndata = "data"\n')

        cli.ok("user", "add", "a", DRIVEBAY_CONFIG="serve.toml")

        assert (cli.folder / "data" / "catalog.sqlite").exists()

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("[serve]\ndat = 1\n", "unknown setting in [serve] of serve.toml: dat"),
            ("[serve\n", "the configuration file serve.toml cannot be read"),
            ("serve = 1\n", "[serve] in serve.toml must be a table"),
            (None, "the configuration file serve.toml does not exist"),
        ],
    )
    def test_a_configuration_that_is_unsound_is_refused(
        self, cli: Cli, inside, text: str | None, sentence: str
    ):
        if text is not None:
            (cli.folder / "serve.toml").write_text(text)

        run = inside("user", "list", "--config", "serve.toml")

        assert run.status == 2
        assert sentence in run.err


class TestStandardDrives:
    def test_a_standard_drive_is_listed_for_all_until_it_is_removed(self, operator: Cli):
        drive = operator.create("debian", "3M")
        other = Cli(operator.server, operator.server.add_user("guest"), operator.folder)
        words = ("--media", "cdrom", "--gzip", "--rawsize", "2G", "--json")

        row = operator.ok("standard", "add", drive.upper(), *words).json
        listed = operator.ok("standard", "list").lines
        table = operator.terminal("standard", "list", NO_COLOR="1").lines
        seen = other.ok("list", "--standard", "--json").json
        operator.ok("standard", "remove", drive)

        assert row == {
            "drive": drive,
            "name": "debian",
            "size": 3145728,
            "media": "cdrom",
            "format": "gzip",
            "rawsize": 2147483648,
        }
        assert f"{drive}\tdebian\t3145728\tcdrom\tgzip\t2147483648" in listed
        assert table[0].split() == ["DRIVE", "NAME", "SIZE", "MEDIA", "FORMAT", "RAWSIZE"]
        assert f"{drive}  debian  3 MiB  cdrom  gzip      2 GiB" in table
        (record,) = (record for record in seen if record["drive"] == drive)
        assert (record["media"], record["format"], record["rawsize"]) == (
            *("cdrom", "gzip"),
            "2147483648",
        )
        assert other("show", drive).status == 3
        assert drive not in operator.ok("standard", "list", "--json").text

    def test_by_default_it_is_a_plain_disk(self, operator: Cli):
        drive = operator.create("debian", "3M")

        row = operator.ok("standard", "add", drive, "--json").json
        removed = operator.ok("standard", "remove", drive, "--json").json

        assert (row["media"], row["format"], row["rawsize"]) == ("disk", "", None)
        assert removed == {"drive": drive, "name": "debian"}

    @pytest.mark.parametrize(
        ("words", "status", "sentence"),
        [
            (["add", "debian"], 2, "'debian' is not a drive's uuid"),
            (["add", GONE], 3, f"there is no drive {GONE}"),
            (["remove", GONE], 3, f"there is no drive {GONE}"),
            (["add", GONE, "--rawsize", "big"], 2, "'big' is not a byte count"),
            (["add", GONE, "--media", "tape"], 2, "'tape' is not one of 'disk', 'cdrom'"),
        ],
    )
    def test_what_cannot_be_done_is_said(
        self, operator: Cli, inside, words, status: int, sentence: str
    ):
        run = inside("standard", *words)

        assert (run.status, run.out) == (status, b"")
        assert sentence in run.err


class TestFaults:
    @pytest.fixture
    def faulted(self, operator: Cli) -> str:
        """A drive that is out of service, for a reason that a terminal should not obey."""
        drive = operator.create("web")
        catalog = folder.catalog_of(operator.server.data)
        with catalog.write() as tx:
            drive_rows.change(tx, parse_uuid(drive), fault="flush\x1b[31m failed")
        catalog.close()
        return drive

    def test_a_fault_is_listed_and_cleared(self, operator: Cli, faulted: str):
        user = operator.user[0]
        row = {"drive": faulted, "user": user, "store": "default", "fault": "flush\x1b[31m failed"}

        assert operator.ok("fault", "list", "--json").json == [row]
        assert operator.ok("fault", "list").lines == [
            f"{faulted}\t{user}\tdefault\tflush[31m failed"
        ]
        assert operator.terminal("fault", "list", NO_COLOR="1").lines[0].split() == [
            *("DRIVE", "USER", "STORE", "FAULT")
        ]
        assert operator.info(faulted)["status"] == "inactive"
        assert operator.ok("fault", "clear", faulted, "--json").json == {**row, "fault": ""}
        assert operator.info(faulted)["status"] == "active"
        assert operator.ok("fault", "list").out == b""

    @pytest.mark.parametrize(("drive", "status"), [("web", 2), (GONE, 3)])
    def test_what_cannot_be_cleared_is_said(self, operator: Cli, inside, drive: str, status: int):
        assert inside("fault", "clear", drive).status == status


class TestServe:
    def test_every_setting_has_an_option_that_is_heard(
        self, make_server, tmp_path: Path, certificate: Path
    ):
        values = {
            "nbd-socket": str(tmp_path / "nbd"),
            "nbd": "127.0.0.1:0",
            "nbd-certificate": str(certificate),
            "nbd-key": str(certificate),
            "nbd-name": "localhost",
            "nbd-workers": "1",
            "imaging-jobs": "1",
            "transfers-per-user": "3",
            "header-timeout-s": "7.5",
            "keep-alive-s": "9",
            "stall-timeout-s": "11",
            "stop-timeout-s": "2",
            "quota-drives": "4",
            "quota-bytes": "1G",
            "log-level": "debug",
            "master-key": str(tmp_path / "key"),
        }
        given = {"data", "http", "workers"} | {name.replace("-", "_") for name in values}

        server = make_server(
            workers=1, options=[word for name in values for word in (f"--{name}", values[name])]
        )

        assert given == set(settings.options())
        assert (tmp_path / "key").exists()
        assert (tmp_path / "nbd").is_socket()
        assert server.stop() == 0

    @pytest.mark.parametrize(
        ("option", "value", "sentence"),
        [
            ("--imaging-jobs", "x", "imaging_jobs from the command line cannot be 'x'"),
            ("--imaging-jobs", "65", "imaging_jobs must be from 1 to 64"),
            ("--transfers-per-user", "0", "transfers_per_user must be from 1 to 1024"),
            ("--keep-alive-s", "0", "keep_alive_s must be more than 0"),
            ("--stall-timeout-s", "soon", "stall_timeout_s from the command line cannot be 'soon'"),
            ("--quota-bytes", "1e9", "quota_bytes from the command line cannot be '1e9'"),
            ("--log-level", "loud", "log_level must be one of debug, info, warning, error"),
            ("--http", "host:65536", "http must be HOST:PORT, not 'host:65536'"),
            ("--config", "none.toml", "the configuration file none.toml does not exist"),
        ],
    )
    def test_a_value_that_cannot_be_used_is_named(
        self, alone: Cli, inside, option: str, value: str, sentence: str
    ):
        run = inside("serve", option, value)

        assert (run.status, run.out) == (2, b"")
        assert sentence in run.err
        assert not (alone.folder / "data").exists()
