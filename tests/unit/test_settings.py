"""Settings: where a value comes from, and which values are refused."""

import os
from pathlib import Path

import pytest

from drivebay import settings
from drivebay.errors import SetupFailed
from drivebay.settings import Settings, StoreSettings, client_config_file, load, options, variable

# A value of each setting from each place, all different, and what it is read as.
VALUES = {
    "data": [("/flag", Path("/flag")), ("/env", Path("/env")), ("/file", Path("/file"))],
    "http": [("a:1", "a:1"), ("b:2", "b:2"), ("[::1]:3", "[::1]:3")],
    "workers": [("1", 1), ("64", 64), (3, 3)],
    "nbd_socket": [("/s1", Path("/s1")), ("/s2", Path("/s2")), ("/s3", Path("/s3"))],
    "nbd": [("a:1", "a:1"), ("b:2", "b:2"), ("[::1]:3", "[::1]:3")],
    "nbd_certificate": [("/c1", Path("/c1")), ("/c2", Path("/c2")), ("/c3", Path("/c3"))],
    "nbd_key": [("/p1", Path("/p1")), ("/p2", Path("/p2")), ("/p3", Path("/p3"))],
    "nbd_name": [("a.example", "a.example"), ("b.example", "b.example"), ("fd00::1", "fd00::1")],
    "nbd_workers": [("1", 1), ("64", 64), (3, 3)],
    "master_key": [("/k1", Path("/k1")), ("/k2", Path("/k2")), ("/k3", Path("/k3"))],
    "imaging_jobs": [("1", 1), ("64", 64), (3, 3)],
    "transfers_per_user": [("1", 1), ("1024", 1024), (3, 3)],
    "header_timeout_s": [("1", 1.0), ("0.5", 0.5), (2.5, 2.5)],
    "keep_alive_s": [("1", 1.0), ("0.5", 0.5), (2, 2.0)],
    "stall_timeout_s": [("1", 1.0), ("86400", 86400.0), (2.5, 2.5)],
    "stop_timeout_s": [("1", 1.0), ("0.5", 0.5), (2.5, 2.5)],
    "quota_drives": [("0", 0), ("007", 7), (3, 3)],
    "quota_bytes": [("4M", 2**22), ("9223372036854775807", 2**63 - 1), ("1k", 2**10)],
    "log_level": [("debug", "debug"), ("warning", "warning"), ("error", "error")],
}

# What a setting is of no use without.
PARTNERS = {"nbd_certificate": "nbd_key", "nbd_key": "nbd_certificate"}

NO_NUMBERS = ["", " 5", "5 ", "-5", "+5", "1_0", "0x5", "1e3", "\u0663", "five", "9" * 5000]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("DRIVEBAY_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def write(tmp_path: Path):
    """Write a configuration file and return its path."""

    def write_text(text: str) -> Path:
        path = tmp_path / "drivebay.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def toml(value) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


class TestPrecedence:
    def test_every_setting_is_tried(self):
        assert set(VALUES) == set(options())

    @pytest.mark.parametrize("name", VALUES)
    def test_the_command_line_comes_before_the_environment_before_the_file(
        self, name, monkeypatch, write
    ):
        (flag, read_flag), (env, read_env), (line, read_line) = VALUES[name]
        default = getattr(Settings(), name)

        assert getattr(load({}), name) == default
        if name in PARTNERS:
            monkeypatch.setenv(variable(PARTNERS[name]), "/partner")
        config = write(f"[serve]\n{name} = {toml(line)}\n")
        assert getattr(load({}, config), name) == read_line
        monkeypatch.setenv(variable(name), env)
        assert getattr(load({}, config), name) == read_env
        assert getattr(load({name: None}, config), name) == read_env
        assert getattr(load({name: flag}, config), name) == read_flag

    def test_the_file_is_the_one_named_or_else_that_of_the_variable(self, monkeypatch, write):
        config = write("[serve]\nworkers = 7\n")
        monkeypatch.setenv("DRIVEBAY_CONFIG", str(config))
        other = config.with_name("other.toml")
        other.write_text("[serve]\nworkers = 9\n")

        assert load({}).workers == 7
        assert load({}, other).workers == 9
        monkeypatch.setenv("DRIVEBAY_CONFIG", "")
        assert load({}).workers == Settings().workers

    def test_the_rest_of_the_file_is_somebody_elses(self, write):
        config = write('[profiles.default]\nurl = "http://a"\n[serve]\nworkers = 7\n')

        assert load({}, config).workers == 7
        assert load({}, write("")).workers == Settings().workers


class TestDefaults:
    def test_folders_are_where_the_desktop_puts_them(self, monkeypatch, tmp_path):
        home = tmp_path / "home"
        assert load({}).data == home / ".local/share/drivebay"
        assert load({}).master_key == home / ".config/drivebay/master.key"
        assert client_config_file() == home / ".config/drivebay/config.toml"

        monkeypatch.setenv("XDG_DATA_HOME", "/xdg/data")
        monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg/config")
        assert load({}).data == Path("/xdg/data/drivebay")
        assert load({}).master_key == Path("/xdg/config/drivebay/master.key")
        assert client_config_file() == Path("/xdg/config/drivebay/config.toml")
        monkeypatch.setenv("DRIVEBAY_CONFIG", "/other.toml")
        assert client_config_file() == Path("/other.toml")

    def test_there_is_a_worker_for_each_core_up_to_four(self, monkeypatch):
        for cores, workers in [(1, 1), (2, 2), (4, 4), (64, 4)]:
            monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))

            assert load({}).workers == workers
            assert load({}).nbd_workers == workers

    def test_claimed_drives_are_offered_in_the_data_folder_and_on_no_address(self):
        loaded = load({"data": "/srv/bay"})

        assert loaded.nbd_socket_path() == Path("/srv/bay/nbd.sock")
        assert loaded.nbd_address() is None
        assert load({"nbd_socket": "/run/bay.sock"}).nbd_socket_path() == Path("/run/bay.sock")

    def test_every_setting_says_what_it_is(self):
        for name, (kind, text) in options().items():
            assert kind in {"path", "int", "seconds", "size", "text"}, name
            assert text.endswith("."), name


class TestPaths:
    def test_relative_paths_and_homes_are_made_absolute(self, monkeypatch, tmp_path, write):
        monkeypatch.chdir(tmp_path)
        config = write('[serve]\ndata = "here"\nmaster_key = "~/key"\n')

        loaded = load({}, config)

        assert loaded.data == tmp_path / "here"
        assert loaded.master_key == tmp_path / "home" / "key"

    def test_bytes_that_are_no_text_may_be_in_a_path(self, monkeypatch):
        monkeypatch.setitem(os.environb, b"DRIVEBAY_DATA", b"/srv/\xff")

        assert os.fsencode(load({}).data) == b"/srv/\xff"


class TestRefusals:
    @pytest.mark.parametrize(
        "name",
        [name for name, (kind, _) in options().items() if kind in {"int", "seconds", "size"}],
    )
    @pytest.mark.parametrize("text", NO_NUMBERS, ids=lambda text: repr(text)[:10])
    def test_text_that_is_no_number_is_refused_by_name(self, name, text, monkeypatch):
        monkeypatch.setenv(variable(name), text)

        with pytest.raises(SetupFailed) as refusal:
            load({})

        assert f"{name} from {variable(name)} cannot be" in str(refusal.value)

    @pytest.mark.parametrize(
        "line",
        [
            "workers = 0",
            "workers = 65",
            "workers = -1",
            "workers = 2.5",
            "workers = true",
            "workers = inf",
            "workers = [1]",
            "workers = {a = 1}",
            "workers = 2026-01-01",
            "nbd_workers = 0",
            "nbd_workers = 65",
            "nbd_workers = true",
            'nbd = ""',
            'nbd = "10809"',
            'nbd = "localhost:65536"',
            "nbd = 10809",
            'nbd_socket = ""',
            "nbd_name = 5",
            'nbd_name = ""',
            'nbd_certificate = "/c.pem"',
            'nbd_certificate = ""',
            "imaging_jobs = 0",
            "imaging_jobs = 65",
            "transfers_per_user = 0",
            "transfers_per_user = 1025",
            "header_timeout_s = 0",
            "header_timeout_s = -1",
            "header_timeout_s = nan",
            "header_timeout_s = inf",
            "header_timeout_s = 86401",
            "header_timeout_s = true",
            "keep_alive_s = 0.0",
            "stall_timeout_s = []",
            "stop_timeout_s = -0.5",
            "quota_drives = -1",
            "quota_drives = 9223372036854775808",
            "quota_bytes = -1",
            "quota_bytes = 9223372036854775808",
            "quota_bytes = 1.5",
            "quota_bytes = true",
            'quota_bytes = "9223372036854775808"',
            'log_level = ""',
            'log_level = "loud"',
            'log_level = "INFO"',
            "log_level = 5",
            'data = ""',
            "data = 5",
            'data = "a\\u0000b"',
            'data = "~nobody-of-this-name/x"',
            "master_key = []",
            'http = ""',
            'http = "8080"',
            'http = ":8080"',
            'http = "localhost"',
            'http = "localhost:"',
            'http = "localhost:65536"',
            'http = "localhost:-1"',
            'http = "localhost:\u0663"',
            f'http = "localhost:{"9" * 5000}"',
            "http = 8080",
            "stores = 5",
            "stores = [5]",
            "stores = {}",
        ],
        ids=lambda line: line[:40],
    )
    def test_a_line_that_cannot_be_used_is_refused_by_its_name(self, line, write):
        with pytest.raises(SetupFailed) as refusal:
            load({}, write(f"[serve]\n{line}\n"))

        assert line.split(" ")[0] in str(refusal.value)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("[serve", "cannot be read"),
            ("\ufeff[serve]", "cannot be read"),
            ("[serve]\nworkers = 1\nworkers = 2\n", "cannot be read"),
            ("serve = 5", "must be a table"),
            ("[[serve]]\nworkers = 1\n", "must be a table"),
            ("[serve]\nwrokers = 1\nlisten = 2\n", "unknown setting .* listen, wrokers"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_refused(self, text, sentence, write):
        with pytest.raises(SetupFailed, match=sentence) as refusal:
            load({}, write(text))

        assert "drivebay.toml" in str(refusal.value)

    def test_a_file_that_is_not_there_or_no_text_is_refused(self, tmp_path, monkeypatch):
        with pytest.raises(SetupFailed, match="does not exist"):
            load({}, tmp_path / "none.toml")
        (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
        for path in (tmp_path / "binary.toml", tmp_path):
            monkeypatch.setenv("DRIVEBAY_CONFIG", str(path))
            with pytest.raises(SetupFailed, match="cannot be read"):
                load({})


class TestStores:
    def test_without_any_there_is_one_in_the_data_folder(self):
        (store,) = load({"data": "/srv/bay"}).store_list()

        assert store == StoreSettings("default", Path("/srv/bay/stores/default"), "default")

    def test_each_entry_is_a_store_whose_domain_is_its_name_unless_given(self, write, tmp_path):
        config = write(
            '[[serve.stores]]\nname = "a"\npath = "/mnt/a"\n'
            '[[serve.stores]]\nname = "b"\npath = "~/b"\ndomain = "shelf 2"\n'
        )

        assert load({}, config).store_list() == (
            StoreSettings("a", Path("/mnt/a"), "a"),
            StoreSettings("b", tmp_path / "home" / "b", "shelf 2"),
        )

    @pytest.mark.parametrize(
        ("entry", "sentence"),
        [
            ('name = "a"', "needs name and path"),
            ('path = "/a"', "needs name and path"),
            ('name = "a"\npath = "/a"\nsize = 5', "needs name and path"),
            ('name = ""\npath = "/a"', "name from"),
            ('name = 5\npath = "/a"', "name from"),
            ('name = "a\\nb"\npath = "/a"', "name from"),
            ('name = "a"\npath = ""', "path from"),
            ('name = "a"\npath = 5', "path from"),
            ('name = "a"\npath = "/a"\ndomain = ""', "domain from"),
            ('name = "a"\npath = "/a"\ndomain = ["x"]', "domain from"),
        ],
    )
    def test_an_entry_that_cannot_be_used_is_refused(self, entry, sentence, write):
        with pytest.raises(SetupFailed, match=sentence):
            load({}, write(f"[[serve.stores]]\n{entry}\n"))

    def test_a_name_is_given_once(self, write):
        entry = '[[serve.stores]]\nname = "a"\npath = "/mnt/a"\n'

        with pytest.raises(SetupFailed, match="two stores have the same name"):
            load({}, write(entry * 2))


@pytest.mark.parametrize(
    ("http", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("0.0.0.0:080", ("0.0.0.0", 80)),
    ],
)
def test_an_address_is_a_host_and_a_port(http, address):
    assert load({"http": http}).listen_address() == address
    assert load({"nbd": http}).nbd_address() == address


@pytest.mark.parametrize("name", PARTNERS)
def test_a_certificate_and_its_key_go_together(name):
    with pytest.raises(SetupFailed, match="nbd_certificate and nbd_key go together"):
        load({name: "/a.pem"})

    assert load({name: "/a.pem", PARTNERS[name]: "/a.pem"}).nbd_key == Path("/a.pem")


def test_a_variable_is_the_settings_name_in_capitals():
    assert settings.variable("stall_timeout_s") == "DRIVEBAY_STALL_TIMEOUT_S"
