"""The pages of the documentation, and what tests look for in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def page(name: str) -> str:
    return (DOCS / name).read_text()


def fences(text: str, language: str = "") -> list[str]:
    """Return the code blocks of that language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```\n", text, re.DOTALL | re.MULTILINE)
    return [body for name, body in found if name == language]


def prose(text: str) -> str:
    """Return *text* without its code blocks."""
    return re.sub(r"^```\w*\n.*?^```\n", "", text, flags=re.DOTALL | re.MULTILINE)


def codes(text: str) -> set[str]:
    """Return everything that stands in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def tables(text: str) -> list[list[list[str]]]:
    """Return each table as rows of cells, without its header."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            # A bar that belongs to a cell is escaped.
            cells = re.split(r"(?<!\\)\|", line.strip("|"))
            found[-1].append([cell.strip() for cell in cells])
        elif found[-1]:
            found.append([])
    return [rows[2:] for rows in found if rows]
