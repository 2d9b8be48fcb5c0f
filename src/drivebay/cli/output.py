"""How results look: aligned tables on a terminal, tabs in a pipe, JSON when asked for."""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

import click

from drivebay.units import KIB, format_size
from drivebay.wire import Record

# Marks that reorder what a terminal shows, so that a name could pose as another.
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Cell = str | int
"""A number is a size in bytes."""

_RED, _YELLOW = "red", "yellow"


def clean(text: str) -> str:
    """Return *text* without what could move a cursor, change a colour or break a line."""
    if text.isprintable() and not _REORDERING.intersection(text):
        return text
    return "".join(" " if c in "\t\n\r" else c for c in text if c in "\t\n\r" or _is_harmless(c))


def _is_harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return category not in {"Cc", "Cs", "Zl", "Zp"} and character not in _REORDERING


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads *stream*."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def has_color(stream: TextIO) -> bool:
    """Whether *stream* gets colours: NO_COLOR forbids them, CLICOLOR_FORCE demands them."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") not in {"", "0"}:
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def print_json(document: object) -> None:
    """Print one JSON document; what a terminal could take for a command is escaped."""
    click.echo(json_text(document, indent=2))


def json_text(document: object, indent: int | None = None) -> str:
    """Return *document* as JSON in which every character is printable."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, indent=indent)
    if clean(text.replace("\n", "")) == text.replace("\n", ""):
        return text
    return json.dumps(document, sort_keys=True, ensure_ascii=True, indent=indent)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print *rows* for whoever reads stdout; in a pipe without header and with whole bytes."""
    if not is_terminal(sys.stdout):
        for row in rows:
            click.echo("\t".join(clean(str(cell)) for cell in row))
        return
    table = [list(headers), *([_shown(cell) for cell in row] for row in rows)]
    numeric = [all(isinstance(cell, int) for cell in column) for column in zip(*rows, strict=True)]
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    for index, line in enumerate(table):
        cells = [
            _padded(cell, size, right=right)
            for cell, size, right in zip(
                line, widths, numeric or [False] * len(widths), strict=True
            )
        ]
        text = "  ".join(cells).rstrip()
        click.echo(_style(text, bold=True) if index == 0 else _colored(text, line))


def print_pairs(record: Mapping[str, Cell]) -> None:
    """Print one record, a line for each key."""
    if not is_terminal(sys.stdout):
        for key in sorted(record):
            click.echo(f"{clean(key)}\t{clean(str(record[key]))}")
        return
    size = max(map(width, record), default=0)
    for key in sorted(record):
        value = record[key]
        exact = f" ({value} bytes)" if isinstance(value, int) and value >= KIB else ""
        click.echo(_style(_padded(clean(key), size), bold=True) + f"  {_shown(value)}{exact}")


def status_text(record: Record) -> str:
    """Return a drive's state in words: its status, or what imaging is doing to it."""
    imaging = str(record.get("imaging", ""))
    if not imaging:
        return str(record.get("status", ""))
    return "imaging" if imaging == "true" else f"imaging {imaging.replace('%', ' %')}"


def width(text: str) -> int:
    """Return how many columns *text* takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    # A mark stands on the letter before it; East Asian letters and emoji are two columns wide.
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _shown(cell: Cell) -> str:
    return format_size(cell) if isinstance(cell, int) else clean(cell)


def _padded(text: str, size: int, *, right: bool = False) -> str:
    blanks = " " * (size - width(text))
    return blanks + text if right else text + blanks


def _colored(text: str, cells: Sequence[str]) -> str:
    if "inactive" in cells or any(cell.startswith("imaging failed") for cell in cells):
        return _style(text, fg=_RED)
    if any(cell == "imaging" or cell.startswith("imaging ") for cell in cells):
        return _style(text, fg=_YELLOW)
    return text


def _style(text: str, *, bold: bool = False, fg: str | None = None) -> str:
    return click.style(text, bold=bold or None, fg=fg) if has_color(sys.stdout) else text
