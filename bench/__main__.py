"""`python -m bench`: run the rows and print the table."""

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import machine, page, report
from bench.contest import BenchFailed, Pace, Result, Row, hold
from bench.processes import is_here
from bench.rig import Rig
from bench.rows import GROUPS, ROWS

# Both are many times what a core's caches hold.
SIZE = 1 << 30
QUICK_SIZE = 1 << 27

# What brings each program on Debian.
PACKAGES = {
    "nginx": "nginx-light",
    "wrk": "wrk",
    "igzip": "isal",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "nbdkit": "nbdkit",
    "nbdcopy": "libnbd-bin",
    "fio": "fio",
    "fio:nbd": "fio",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    only: tuple[str, ...]
    rounds: int | None
    seconds: float | None
    quick: bool
    data_dir: Path
    disk_dir: Path
    json_path: Path | None
    publish: bool

    @property
    def pace(self) -> Pace:
        """How long to measure."""
        rounds, seconds = (3, 0.5) if self.quick else (5, 2.0)
        return Pace(self.rounds or rounds, self.seconds or seconds, is_quick=self.quick)

    @property
    def size(self) -> int:
        """How many bytes the drives hold."""
        return QUICK_SIZE if self.quick else SIZE


def _chosen(only: tuple[str, ...], *, is_quick: bool) -> list[Row]:
    keys = [row.key for row in ROWS]
    unknown = [key for key in only if not any(row.startswith(key) for row in keys)]
    if unknown:
        raise click.BadParameter(f"no row {unknown[0]}; there are {', '.join(keys)}")
    if only:
        return [row for row in ROWS if row.key.startswith(only)]
    return [row for row in ROWS if row.is_quick or not is_quick]


def _result(row: Row, rig: Rig, console: Console) -> Result:
    missing = tuple(name for name in row.needs if not is_here(name))
    if missing:
        return Result(row, missing=missing)
    began = time.monotonic()
    try:
        with console.status(row.key) as status:
            result = hold(
                row, row.build(rig), rig.pace, lambda say: status.update(f"{row.key}: {say}")
            )
    except BenchFailed as error:
        result = Result(row, failure=str(error))
    console.print(
        f"{row.key:16} {result.verdict:8} {report.outcome(result)}  "
        f"[{time.monotonic() - began:.0f} s]",
        markup=False,
    )
    return result


def _absent(rows: list[Row]) -> str:
    """Return which peers are not here, and what brings them."""
    absent = sorted({name for row in rows for name in row.needs + row.uses if not is_here(name)})
    if not absent:
        return ""
    packages = sorted({PACKAGES[name] for name in absent if name in PACKAGES})
    return f"missing: {', '.join(absent)}" + (
        f"; apt-get install {' '.join(packages)}" if packages else ""
    )


@click.command()
@click.option("--only", multiple=True, metavar="ROW", help="Run this row; may be given again.")
@click.option("--rounds", type=click.IntRange(1), help="How often each side is measured.")
@click.option("--seconds", type=click.FloatRange(0.1), help="How long each measurement takes.")
@click.option("--quick", is_flag=True, help="The main rows, in under two minutes.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/dev/shm"),  # noqa: S108 - a folder of our own is made below it
    show_default=True,
    help="Where the data in memory lie: a tmpfs.",
)
@click.option(
    "--disk-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/var/tmp"),  # noqa: S108 - the same
    show_default=True,
    help="Where the data on a disk lie.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the run here.")
@click.option("--publish", is_flag=True, help="Write it into docs/benchmarks.md, with plots.")
def main(**given: Any) -> None:
    """Measure drivebay against its neighbours, all on this machine, in turn."""
    options = Options(**given)
    # An end by a signal is an orderly one too: gigabytes in memory would stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console()
    if not console.is_terminal:
        console = Console(width=report.WIDTH + 20)
    facts = machine.describe(options.data_dir, options.disk_dir)
    rows = _chosen(options.only, is_quick=options.quick)
    results = []
    for group in GROUPS:
        # Made anew for each group, so that what one has filled is not in the way of the next.
        with Rig(options.data_dir, options.disk_dir, options.pace, options.size) as rig:
            results += [_result(row, rig, console) for row in group if row in rows]
    report.show(results, console)
    if absent := _absent(rows):
        console.print(absent)
    made = report.document(results, options.pace, facts)
    if options.json_path:
        report.write(options.json_path, made)
    if options.publish:
        page.publish(made)


if __name__ == "__main__":
    main()
