"""The table on the terminal and the document of a run."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.contest import Pace, Result
from bench.stats import Series, Spread

WIDTH = 140
HEADINGS = ("row", "ratio", "floor / goal", "verdict", "drivebay", "peer", "unit", "against")
EXTRA = ("drivebay", "peer", "unit")
NUMBERS = ("ratio", "floor / goal", "drivebay", "peer")
STYLES = {"goal": "green", "floor": "yellow", "missing": "magenta"}


def number(value: float) -> str:
    """Return a value with three digits that mean something: 0.812, 31.4, 2,650."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Spread) -> str:
    """Return `median (least..most)`."""
    return f"{number(values.median)} ({number(values.least)}..{number(values.most)})"


def bounds(result: Result) -> str:
    """Return what the row has to reach, floor first."""
    sign = "≤ " if result.row.is_limit else ""
    return f"{sign}{number(result.row.floor)} / {sign}{number(result.row.goal)}"


def outcome(result: Result) -> str:
    """Return the ratio with its spread, or the value of a limit, or why there is none."""
    if result.measured is not None:
        unit = f" {result.row.unit}" if result.row.is_limit else ""
        return spread(result.measured) + unit
    return f"needs {', '.join(result.missing)}" if result.missing else "see below"


def table(results: Sequence[Result], width: int) -> Table:
    """Return the rows, ratios first; a narrow terminal gets fewer columns."""
    made = Table(
        title="median (least..most) by round; ratio = drivebay / peer", box=box.SIMPLE_HEAD
    )
    headings = HEADINGS if width >= WIDTH else tuple(one for one in HEADINGS if one not in EXTRA)
    for heading in headings:
        made.add_column(
            heading,
            justify="right" if heading in NUMBERS else "left",
            no_wrap=heading != "against",
        )
    for result in results:
        cells = _cells(result)
        made.add_row(*(cells[heading] for heading in headings))
    return made


def _cells(result: Result) -> dict[str, str | Text]:
    peer = result.peer
    return {
        "row": result.row.key,
        "ratio": outcome(result),
        "floor / goal": bounds(result),
        "verdict": Text(result.verdict, style=STYLES.get(result.verdict, "red")),
        "drivebay": spread(result.ours.spread) if result.ours else "",
        "peer": spread(peer.spread) if peer else "",
        "unit": result.row.unit,
        "against": peer.name if peer else result.row.against,
    }


def show(results: Sequence[Result], console: Console) -> None:
    """Print the table, what was seen beside the values, and what is missing."""
    console.print(table(results, console.width))
    for result in results:
        for series in result.series:
            if series.details or series in result.also:
                console.print(f"  {result.row.key:16} {series.name:20} {_details(series)}")
    for result in results:
        if result.failure:
            console.print(f"  {result.row.key:16} failed: {result.failure}", markup=False)
        if result.verified:
            console.print(f"  {result.row.key:16} verified {result.verified}")


def _details(series: Series) -> str:
    parts = [f"{name} {number(value)}" for name, value in series.details.items()]
    return f"{spread(series.spread)}; {', '.join(parts)}"


def document(results: Sequence[Result], pace: Pace, machine: dict[str, str]) -> dict[str, Any]:
    """Return the whole run as one document."""
    return {
        "machine": machine,
        "rounds": pace.rounds,
        "seconds": pace.seconds,
        "rows": [_record(result) for result in results],
    }


def _record(result: Result) -> dict[str, Any]:
    row = result.row
    return {
        "row": row.key,
        "what": row.what,
        "against": row.against,
        "unit": row.unit,
        "floor": row.floor,
        "goal": row.goal,
        "is_limit": row.is_limit,
        "note": row.note,
        "verdict": result.verdict,
        "measured": asdict(result.measured) if result.measured else None,
        "ours": _series(result.ours) if result.ours else None,
        "peers": [_series(peer) for peer in result.peers],
        "also": [_series(one) for one in result.also],
        "compared_with": result.peer.name if result.peer else None,
        "verified": result.verified,
        "missing": list(result.missing),
        "failure": result.failure,
    }


def _series(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "spread": asdict(series.spread),
        "values": [sample.value for sample in series.samples],
        "details": series.details,
    }


def write(path: Path, made: dict[str, Any]) -> None:
    """Write the document."""
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
