"""Plots of a run, as SVG, from its document."""

import importlib.util
from pathlib import Path
from typing import Any

FLOOR, GOAL, OURS, PEER = "#d98a00", "#2a8f3c", "#2b6cb0", "#a0aec0"
ROW_INCHES = 0.36
# Text stays text, and the same run gives the same file.
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "drivebay",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def are_possible() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(document: dict[str, Any], folder: Path) -> list[Path]:
    """Draw every plot into *folder* and return the files."""
    import matplotlib as mpl  # noqa: PLC0415 - only this needs it, and it takes a second

    mpl.use("svg")
    folder.mkdir(parents=True, exist_ok=True)
    measured = [row for row in document["rows"] if row["measured"]]
    ratios = [row for row in measured if not row["is_limit"]]
    rates = [row for row in ratios if row["unit"] == "MB/s"]
    with mpl.rc_context(STYLE):
        drawn = []
        if ratios:
            drawn.append(_ratios(ratios, folder / "ratios.svg"))
        if rates:
            drawn.append(_rates(rates, folder / "rates.svg"))
    return drawn


def _axes(count: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 1 + ROW_INCHES * count), layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def _ratios(rows: list[dict[str, Any]], path: Path) -> Path:
    """Draw each row's ratio with its spread, its floor and its goal, on a logarithmic scale."""
    figure, axes = _axes(len(rows))
    for at, row in enumerate(rows):
        spread = row["measured"]
        axes.plot([spread["least"], spread["most"]], [at, at], color=OURS, linewidth=1.5)
        axes.plot(spread["median"], at, "o", color=OURS)
        for value, color in ((row["floor"], FLOOR), (row["goal"], GOAL)):
            axes.plot([value, value], [at - 0.4, at + 0.4], color=color, linewidth=2)
    axes.plot([], [], color=FLOOR, linewidth=2, label="floor")
    axes.plot([], [], color=GOAL, linewidth=2, label="goal")
    axes.plot([], [], "o-", color=OURS, linewidth=1.5, label="median, least..most")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color="grey", linewidth=0.5)
    axes.set_yticks(range(len(rows)), [f"{row['row']} / {row['compared_with']}" for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("drivebay / peer, median of the rounds; more is better")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    return _save(figure, path)


def _rates(rows: list[dict[str, Any]], path: Path) -> Path:
    """Draw what every side of a row moved, with its spread."""
    bars = [
        (f"{row['row']}: {series['name']}", series["spread"], _color(series["name"]))
        for row in rows
        for series in [row["ours"], *row["peers"], *row["also"]]
    ]
    figure, axes = _axes(len(bars))
    for at, (_, spread, color) in enumerate(bars):
        axes.barh(at, spread["median"], height=0.7, color=color)
        axes.plot([spread["least"], spread["most"]], [at, at], color="black", linewidth=1)
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlabel("MB/s, median of the rounds; the line is least..most")
    return _save(figure, path)


def _color(name: str) -> str:
    return OURS if name.startswith("drivebay") else PEER
