"""Which service, and who is calling: flag, then environment, then profile, then default."""

from pathlib import Path

import pytest

from cli.runner import Cli

USER = "2164ce57-591c-43ee-ade5-e2fe0ee13c3e"
OTHER = "0012e24a-6eae-4279-9912-3432f698cec8"
UNSET = dict.fromkeys(["DRIVEBAY_URL", "DRIVEBAY_TOKEN"])


@pytest.fixture
def config(cli: Cli) -> Path:
    """A configuration with two profiles; `work` is not the default."""
    path = cli.folder / "config" / "drivebay" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(
        f'[profiles.default]\nurl = "http://default"\nuser = "{USER}"\nkey = "kept"\n'
        f'[profiles.work]\nurl = "http://work"\nuser = "{OTHER}"\nkey = "kept"\n'
    )
    path.chmod(0o600)
    return path


def _shown(cli: Cli, *words: str, **env: str | None) -> dict[str, tuple[str, str]]:
    """Return each setting's value and origin, with nothing in the environment but *env*."""
    document = cli.ok("profile", "show", "--origin", "--json", *words, **{**UNSET, **env}).json
    return {name: (item["value"], item["origin"]) for name, item in document.items()}


def test_without_anything_the_address_is_the_default_and_nobody_calls(cli: Cli):
    shown = _shown(cli)

    assert shown["url"] == ("http://127.0.0.1:8080", "default")
    assert shown["user"] == ("", "")
    assert shown["key"] == ("not set", "")
    assert shown["profile"] == ("", "")
    assert shown["config"] == (f"{cli.folder}/config/drivebay/config.toml", "XDG_CONFIG_HOME")


def test_the_default_profile_comes_before_the_default(cli: Cli, config: Path):
    shown = _shown(cli)

    assert shown["url"] == ("http://default", "profile default")
    assert shown["user"] == (USER, "profile default")
    assert shown["key"] == ("set", "profile default")
    assert shown["profile"] == ("default", "default")


@pytest.mark.parametrize(
    ("words", "env", "url", "user"),
    [
        ([], {"DRIVEBAY_PROFILE": "work"}, ("http://work", "profile work"), OTHER),
        ([], {"EHURI": "http://eh"}, ("http://eh", "EHURI"), USER),
        (
            [],
            {"EHURI": "http://eh", "DRIVEBAY_URL": "http://env", "DRIVEBAY_PROFILE": "work"},
            ("http://env", "DRIVEBAY_URL"),
            OTHER,
        ),
        (["--url", "http://flag"], {"DRIVEBAY_URL": "http://env"}, ("http://flag", "--url"), USER),
        (["--profile", "work"], {"DRIVEBAY_PROFILE": "x"}, ("http://work", "profile work"), OTHER),
        (["work"], {}, ("http://work", "profile work"), OTHER),
        (
            ["--profile", "work"],
            {"DRIVEBAY_URL": "http://env", "DRIVEBAY_TOKEN": f"{USER}:key", "EHURI": "http://eh"},
            ("http://work", "profile work"),
            OTHER,
        ),
        (["--profile", "work", "--url", "http://flag"], {}, ("http://flag", "--url"), OTHER),
        ([], {"DRIVEBAY_URL": "", "EHURI": ""}, ("http://default", "profile default"), USER),
    ],
)
def test_the_address_comes_from_the_first_that_names_one(
    cli: Cli, config: Path, words: list[str], env: dict[str, str], url: tuple[str, str], user: str
):
    shown = _shown(cli, *words, **env)

    assert shown["url"] == url
    assert shown["user"][0] == user


def test_the_token_comes_from_the_first_that_holds_one(cli: Cli, config: Path):
    (cli.folder / "token").write_text("file:key\nsecond line\n")
    sources = {
        "EHAUTH": "eh:key",
        "DRIVEBAY_TOKEN_COMMAND": "printf 'command:%s' key",
        "DRIVEBAY_TOKEN_FILE": str(cli.folder / "token"),
        "DRIVEBAY_TOKEN": "env:key",
    }

    env: dict[str, str] = {}
    found = []
    for name, value in sources.items():
        env[name] = value
        found.append(_shown(cli, **env)["user"])

    assert found == [
        ("eh", "EHAUTH"),
        ("command", "DRIVEBAY_TOKEN_COMMAND"),
        ("file", "DRIVEBAY_TOKEN_FILE"),
        ("env", "DRIVEBAY_TOKEN"),
    ]


def test_the_variables_of_the_elastichosts_tools_are_understood(cli: Cli):
    drive = cli.create("web")
    eh = {"EHURI": f"{cli.server.url}/", "EHAUTH": ":".join(cli.user)}

    run = cli.ok("list", **UNSET, **eh)

    assert run.lines[0].startswith(drive)


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"DRIVEBAY_TOKEN": "canary"}, "DRIVEBAY_TOKEN does not hold a token of the form UUID:KEY"),
        ({"EHAUTH": "canary canary:x"}, "EHAUTH does not hold a token of the form UUID:KEY"),
        ({"DRIVEBAY_TOKEN": "a:canary\x1b"}, "DRIVEBAY_TOKEN does not hold a token"),
        ({"DRIVEBAY_TOKEN_FILE": "none"}, "DRIVEBAY_TOKEN_FILE none cannot be read"),
        ({"DRIVEBAY_TOKEN_FILE": "/dev/null"}, "DRIVEBAY_TOKEN_FILE does not hold a token"),
        ({"DRIVEBAY_TOKEN_COMMAND": "none"}, "DRIVEBAY_TOKEN_COMMAND gave no token"),
        ({"DRIVEBAY_TOKEN_COMMAND": "false"}, "DRIVEBAY_TOKEN_COMMAND gave no token"),
        ({"DRIVEBAY_TOKEN_COMMAND": "'"}, "DRIVEBAY_TOKEN_COMMAND gave no token"),
        ({"DRIVEBAY_TOKEN_COMMAND": "true"}, "DRIVEBAY_TOKEN_COMMAND does not hold a token"),
        ({"DRIVEBAY_URL": "http://u:canary@host"}, "the URL holds credentials"),
        ({"DRIVEBAY_URL": "http://host/?key=x"}, "has more than scheme, host, port and path"),
        ({"DRIVEBAY_URL": "host"}, "is not a URL like https://HOST or http://HOST:PORT"),
        ({"DRIVEBAY_URL": "http://host:99999"}, "the URL cannot be used"),
        ({"DRIVEBAY_PROFILE": "none"}, "there is no profile 'none' (from DRIVEBAY_PROFILE)"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_its_secret_is_not_shown(
    inside, env: dict[str, str], sentence: str
):
    cleared = {"DRIVEBAY_TOKEN": None} if "DRIVEBAY_URL" not in env else {}

    run = inside("list", "-v", "--debug", **{**cleared, **env})

    assert run.status == 2
    assert sentence in run.err
    assert "canary" not in run.err


@pytest.mark.parametrize(
    ("mode", "text", "sentence"),
    [
        (0o640, None, "holds keys, and others may read it (mode 0640)\nhint: chmod 600 "),
        (0o600, "[profiles", "is not TOML"),
        (0o600, "profiles = 1", "[profiles] in"),
        (0o600, "[profiles]\nx = 1", "[profiles.x] in"),
        (0o600, "[profiles.x]\nurl = 1", "url, user and key of [profiles.x] in"),
    ],
)
def test_a_configuration_that_is_unsound_is_refused(
    config: Path, inside, mode: int, text: str | None, sentence: str
):
    if text is not None:
        config.write_text(text)
    config.chmod(mode)

    run = inside("list", **UNSET)

    assert run.status == 2
    assert sentence in run.err
    assert "kept" not in run.err


def test_a_configuration_without_profiles_may_be_read_by_all(cli: Cli, config: Path):
    config.write_text("[serve]\nworkers = 1\n")
    config.chmod(0o644)

    assert cli("list").status == 0


def test_drivebay_config_names_another_file(cli: Cli, config: Path):
    other = config.rename(cli.folder / "other.toml")

    shown = _shown(cli, DRIVEBAY_CONFIG=str(other))

    assert shown["url"] == ("http://default", "profile default")
    assert shown["config"] == (str(other), "DRIVEBAY_CONFIG")
