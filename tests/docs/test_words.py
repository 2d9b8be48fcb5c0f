"""Every word that users meet is documented: keys, errors, statuses, settings, variables."""

import json
import re
from importlib import resources

import pytest

from docs.pages import DOCS, ROOT, codes, page, tables
from drivebay import settings
from drivebay.cli.statuses import ExitStatus
from drivebay.cli.topics import ENVIRONMENT
from drivebay.http.errors import STATUS
from drivebay.wire import ErrorWord

SOURCES = sorted((ROOT / "src" / "drivebay").rglob("*.py"))


@pytest.fixture(scope="module")
def openapi() -> dict:
    return json.loads(resources.files("drivebay.http").joinpath("openapi.json").read_text())


def _section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_key_of_the_record_is_documented_and_no_other(openapi: dict):
    schemas = openapi["components"]["schemas"]
    known = {*schemas["Drive"]["properties"], *schemas["NewDrive"]["properties"], "user:*"}

    (rows,) = tables(_section(page("http-api.md"), "The drive record"))

    assert {key for row in rows for key in codes(row[0])} == known


def test_every_key_says_where_it_can_be_given(openapi: dict):
    schemas = openapi["components"]["schemas"]
    (rows,) = tables(_section(page("http-api.md"), "The drive record"))
    documented = {key: row[1] for row in rows for key in codes(row[0])}

    for call, schema in (("create", "NewDrive"), ("set", "Set")):
        taking = {key for key, where in documented.items() if call in where.split(", ")}
        assert taking - {"user:*"} == set(schemas[schema]["properties"])


def _expanded(call: str) -> set[tuple[str, str]]:
    """Return method and path of each call that `POST /a[/b|/c]` stands for."""
    method, _, path = call.rpartition(" ")
    start, _, choices = path.replace("\\", "").partition("[")
    ends = ["", *choices.rstrip("]").split("|")] if choices else [""]
    return {
        (method, re.sub(r"/(DRIVE|SOURCE|SERVER|OFFSET|SIZE)\b", "/{}", start + end))
        for end in ends
    }


def test_every_call_is_documented_and_no_other(openapi: dict):
    (rows,) = tables(_section(page("http-api.md"), "Calls"))
    documented = {one for row in rows for code in codes(row[0]) for one in _expanded(code)}

    described = set()
    for path, operations in openapi["paths"].items():
        method = "GET" if "get" in operations else "POST"
        place = re.sub(r"\{(?!conversion)\w+\}", "{}", path)
        both = [place.replace("{conversion}", word) for word in ("gzip", "gunzip")]
        described |= {(method, one) for one in (both if "{conversion}" in place else [place])}
    # A second spelling in one row has the method of the first.
    assert {path for _, path in documented} == {path for _, path in described}
    assert {one for one in documented if one[0]} <= described


def test_every_error_word_stands_beside_its_statuses():
    (rows,) = tables(_section(page("http-api.md"), "Errors"))
    documented = {
        (int(status), word)
        for row in rows
        for status in re.findall(r"\d+", row[0])
        for word in codes(row[1])
    }

    assert {word for _, word in documented} == {word.value for word in ErrorWord}
    assert {(status, word.value) for status, word in STATUS.values()} <= documented


def test_every_status_that_is_sent_is_documented(openapi: dict):
    (rows,) = tables(_section(page("http-api.md"), "Errors"))
    documented = {int(status) for row in rows for status in re.findall(r"\d+", row[0])}

    in_source = re.compile(r"(?:refused|Refusal)\(\s*(\d{3})")
    sent = {int(number) for path in SOURCES for number in in_source.findall(path.read_text())}
    described = {
        int(status)
        for item in openapi["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
        for status in operation.get("responses", {})
        if status.isdigit() and int(status) >= 400
    }
    assert sent
    assert sent | described <= documented


def test_every_setting_is_documented_with_flag_variable_and_default():
    (rows, *_) = tables(_section(page("operating.md"), "Settings"))
    documented = {next(iter(codes(row[0]))): row for row in rows}
    default = settings.Settings()

    assert list(documented) == list(settings.options())
    for name, (_, flag, variable, value, meaning) in documented.items():
        assert flag == f"`--{name.replace('_', '-')}`"
        assert variable == f"`{settings.variable(name)}`"
        assert meaning
        number = re.match(r"\d+(?!\d*\.)", value.strip("`"))
        if isinstance(getattr(default, name), int | float) and not name.endswith("workers"):
            assert number
            assert float(number[0]) == getattr(default, name)


def test_every_exit_status_is_documented():
    (rows,) = tables(_section(page("cli.md"), "Exit statuses"))

    assert [(int(row[0]), row[1]) for row in rows] == [(s.value, s.meaning) for s in ExitStatus]


def test_every_variable_that_the_source_reads_is_documented():
    name = re.compile(r'"((?:DRIVEBAY|XDG|EH|SSL)_?[A-Z_]+|NO_COLOR|CLICOLOR_FORCE|TERM|COLUMNS)"')
    read = {found for path in SOURCES for found in name.findall(path.read_text())}
    text = "".join(path.read_text() for path in DOCS.glob("*.md"))
    served = {settings.variable(setting) for setting in settings.options()}

    assert read - {"XDG_DATA_HOME"} <= set(ENVIRONMENT)
    assert [name for name in read | served | set(ENVIRONMENT) if name not in text] == []


def test_the_glossary_explains_each_word_once():
    (rows,) = tables(page("glossary.md"))

    words = [row[0] for row in rows]
    assert len(set(words)) == len(words)
