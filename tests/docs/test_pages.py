"""Pages, links and samples."""

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from cli.grammar import COMMANDS, understood
from docs.pages import DOCS, PAGES, README, ROOT, codes, fences, page, prose
from drivebay import settings
from drivebay.cli.main import cli
from drivebay.cli.reference import reference

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def _links(path: Path) -> list[str]:
    found = _LINK.findall(prose(path.read_text()))
    return [link for link in found if not link.startswith(("http:", "https:"))]


def _anchors(path: Path) -> set[str]:
    titles = _HEADING.findall(prose(path.read_text()))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_resolves(path: Path):
    for link in _links(path):
        target, _, anchor = link.partition("#")
        place = (path.parent / target).resolve() if target else path
        assert place.exists(), link
        assert place.is_relative_to(ROOT), link
        assert not anchor or anchor in _anchors(place), link


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [README]
    while waiting:
        path = waiting.pop()
        if path.suffix != ".md" or path in reached:
            continue
        reached.add(path)
        waiting += [(path.parent / link.partition("#")[0]).resolve() for link in _links(path)]

    assert set(PAGES) <= reached


def test_decisions_are_numbered_without_a_gap_and_listed():
    files = sorted(path.name for path in (DOCS / "decisions").glob("0*.md"))
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", page("decisions/README.md"))

    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    assert listed == files
    for name in files:
        title = page(f"decisions/{name}").splitlines()[0]
        assert title.startswith(f"# {int(name[:4])}. ")


def test_the_changelog_tells_what_is_new():
    assert "## " in (ROOT / "CHANGELOG.md").read_text()
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")


def test_the_page_on_the_command_line_is_its_own_reference():
    assert page("cli.md") == reference(cli), "run: drivebay help reference > docs/cli.md"


def test_the_reference_names_every_command_and_option():
    text = page("cli.md")

    for path, context in COMMANDS.items():
        section = text.partition(f"# {path}\n")[2].partition("\n```\n")[0]
        for parameter in context.command.params:
            for name in (*parameter.opts, *parameter.secondary_opts):
                assert not name.startswith("-") or name in section, (path, name)


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = page("decisions/0001-dependencies.md").lower()

    names = [re.match(r"[\w-]+", line)[0] for line in project["dependencies"]]
    wanted = (ROOT / "requirements" / "test.in").read_text()
    names += re.findall(r"^([a-z][\w-]+)", wanted, re.MULTILINE)
    assert [name for name in names if name not in reasons] == []


def _samples() -> list[str]:
    """Return what the pages for people show of the command line, in blocks and in sentences."""
    names = ("operating.md", "security.md", "http-api.md", "glossary.md", "ARCHITECTURE.md")
    found = []
    for text in (README.read_text(), *map(page, names)):
        for block in fences(text):
            # Behind two blanks stands what it does.
            found += [line.split("   ")[0] for line in block.splitlines()]
            # What a shell puts in place of $(...).
            found += re.findall(r"\$\((drivebay [^)]*)\)", block)
        found += codes(prose(text))
    return sorted({line for line in found if re.match(r"drivebay [a-z]", line)})


def _meant(sample: str) -> list[list[str]]:
    """Return the commands that a sample with [options] and a|choice stands for."""
    words = shlex.split(re.sub(r"[\[\]…]", " ", sample))
    return [list(choice) for choice in itertools.product(*(word.split("|") for word in words))]


@pytest.mark.parametrize("sample", _samples())
def test_every_command_in_the_documentation_is_understood(sample: str):
    for words in _meant(sample):
        understood(words[1:])


def test_the_sample_configuration_is_understood(tmp_path: Path):
    (sample,) = fences(page("operating.md"), "toml")
    path = tmp_path / "serve.toml"
    path.write_text(sample)

    loaded = settings.load({}, path)

    assert loaded.data == Path("/srv/drivebay")
    assert [store.domain for store in loaded.store_list()] == ["shelf-1", "shelf-2"]
