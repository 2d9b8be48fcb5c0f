"""The part of docs/benchmarks.md that a run writes: machine, tables, plots."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import plots
from bench.report import number
from bench.stats import Spread

PAGE = Path("docs/benchmarks.md")
PLOTS = Path("docs/benchmarks")
BEGIN = "<!-- written by `make bench ARGS=--publish`: begin -->"
END = "<!-- end -->"


def publish(document: dict[str, Any], page: Path = PAGE, folder: Path = PLOTS) -> None:
    """Draw the plots and put the run between the two marks of the page."""
    text = page.read_text(encoding="utf-8")
    written_into(text, "")  # Refuses a page without marks before anything is drawn.
    drawn = plots.draw(document, folder) if plots.are_possible() else []
    made = markdown(document, [path.relative_to(page.parent) for path in drawn])
    page.write_text(written_into(text, made), encoding="utf-8")


def written_into(text: str, made: str) -> str:
    """Return *text* with what stands between the marks replaced by *made*.

    Raises:
        ValueError: a mark is missing.
    """
    before, _, rest = text.partition(BEGIN)
    if END not in rest:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}"


def markdown(document: dict[str, Any], drawn: Sequence[Path] = ()) -> str:
    """Return the run as Markdown."""
    rows = [_row(row) for row in document["rows"]]
    sides = [_side(row, series) for row in document["rows"] for series in _all(row)]
    pace = f"{document['rounds']} rounds of {number(document['seconds'])} s a side"
    notes = [f"- `{row['row']}`: {row['note']}" for row in document["rows"] if row["note"]]
    parts = [
        "### The machine",
        table(("what", "here"), document["machine"].items()),
        f"### Ratios\n\n{pace}; median (least..most).",
        table(("row", "what", "against", "ratio", "floor / goal", "verdict"), rows),
        *(f"![{path.stem}]({path.as_posix()})" for path in drawn),
        "### What each side did",
        table(("row", "side", "value", "unit", "beside it"), sides),
        "### Notes",
        "\n".join(notes),
    ]
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _row(row: dict[str, Any]) -> list[str]:
    sign = "≤ " if row["is_limit"] else ""
    unit = f" {row['unit']}" if row["is_limit"] else ""
    missing = f"needs {', '.join(row['missing'])}" if row["missing"] else row["failure"]
    return [
        f"`{row['row']}`",
        row["what"],
        row["compared_with"] or row["against"],
        _spread(row["measured"]) + unit if row["measured"] else missing,
        f"{sign}{number(row['floor'])} / {sign}{number(row['goal'])}",
        row["verdict"],
    ]


def _side(row: dict[str, Any], series: dict[str, Any]) -> list[str]:
    details = [f"{name} {number(value)}" for name, value in series["details"].items()]
    name, value = f"`{row['row']}`", _spread(series["spread"])
    return [name, series["name"], value, row["unit"], ", ".join(details)]


def _all(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [*([row["ours"]] if row["ours"] else []), *row["peers"], *row["also"]]


def _spread(found: dict[str, float]) -> str:
    values = Spread(**found)
    return f"{number(values.median)} ({number(values.least)}..{number(values.most)})"
