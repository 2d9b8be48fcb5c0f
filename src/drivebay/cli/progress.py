"""Progress of long commands: a bar on a terminal, one line at the end in a pipe, or JSON lines."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

import click

from drivebay.cli.app import App, Command
from drivebay.cli.output import is_terminal
from drivebay.client.transfer import NoProgress, Progress
from drivebay.units import format_size

FPS_MAX = 10.0
_RATE_WINDOW_S = 5.0
_BAR_WIDTH_MIN, _BAR_WIDTH_MAX = 5, 30
_HOUR_S, _MINUTE_S = 3600, 60
_COLUMNS = 80

option = click.option(
    "--progress",
    "progress_mode",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="When to show progress.  [default: auto]",
)


def with_progress(function: Command) -> Command:
    """Add the option --progress."""
    return option(function)


class Meter:
    """Counts what is done, and knows the rate over the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.label = ""
        self.total = self.done = self.holes = self.moved = 0
        self.started_s = self._shown_s = clock()
        self._samples: deque[tuple[float, int]] = deque()

    def start(self, label: str, *, total: int, done: int = 0) -> None:
        """Begin a phase."""
        self.label, self.total, self.done, self.holes, self.moved = label, total, done, 0, 0
        self.started_s = self.clock()
        self._shown_s = float("-inf")
        self._samples.clear()
        self._samples.append((self.started_s, 0))

    def advance(self, length: int, *, is_hole: bool = False) -> None:
        """Count *length* bytes."""
        self.done += length
        self.moved += length
        self.holes += length if is_hole else 0

    def is_due(self, interval_s: float) -> bool:
        """Whether *interval_s* has passed since it last was."""
        now = self.clock()
        if now - self._shown_s < interval_s and self.done < self.total:
            return False
        self._shown_s = now
        self._samples.append((now, self.moved))
        while len(self._samples) > 2 and now - self._samples[1][0] > _RATE_WINDOW_S:
            self._samples.popleft()
        return True

    def rate(self) -> float:
        """Return bytes per second over the last seconds."""
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    def percent(self) -> int:
        """Return the whole percents that are done."""
        return 100 if self.total <= 0 else self.done * 100 // self.total

    def elapsed_s(self) -> float:
        """Return how long the phase has taken."""
        return self.clock() - self.started_s


class Bar(Meter):
    """One line on a terminal, drawn again at most ten times a second."""

    def __init__(
        self,
        stream: TextIO,
        fps: float = FPS_MAX,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(clock)
        self._stream = stream
        self._interval_s = 1 / fps
        self._columns = columns or (lambda: _columns_of(stream))
        self._blocks = _blocks_for(stream)
        self._is_drawn = False

    def start(self, label: str, *, total: int, done: int = 0) -> None:
        """Begin a phase on a line of its own."""
        self.close()
        super().start(label, total=total, done=done)
        self._draw()

    def advance(self, length: int, *, is_hole: bool = False) -> None:
        """Count, and draw when it is time."""
        super().advance(length, is_hole=is_hole)
        self._draw()

    def close(self) -> None:
        """Leave the line clear for what is printed next."""
        if self._is_drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._is_drawn = False

    def _draw(self) -> None:
        if not self.is_due(self._interval_s):
            return
        # The last column stays free: some terminals wrap when it is written.
        line = self.line(self._columns() - 1)
        self._stream.write(f"\r{line}\x1b[K")
        self._stream.flush()
        self._is_drawn = True

    def line(self, columns: int) -> str:
        """Return the line, cut to *columns*."""
        rate = self.rate()
        parts = [f"{self.percent():3d} %", f"{format_size(self.done)}/{format_size(self.total)}"]
        if rate > 0:
            parts += [f"{format_size(int(rate))}/s", _clock_text((self.total - self.done) / rate)]
        text = "  ".join(parts)
        holes = f"  {format_size(self.holes)} of zeros" if self.holes else ""
        # The brackets, the blanks around them, and the one at the end.
        room = columns - len(self.label) - len(text) - 6
        if room - len(holes) >= _BAR_WIDTH_MIN:
            room, text = room - len(holes), text + holes
        if room < _BAR_WIDTH_MIN:
            return f"{self.label}  {text}"[: max(columns, 0)]
        room = min(room, _BAR_WIDTH_MAX)
        full, empty = self._blocks
        filled = room * self.percent() // 100
        return f"{self.label}  [{full * filled}{empty * (room - filled)}]  {text}"


class JsonLines(Meter):
    """A JSON line on stderr now and then."""

    def __init__(self, app: App, fps: float) -> None:
        super().__init__()
        self._app = app
        self._interval_s = 1 / fps

    def start(self, label: str, *, total: int, done: int = 0) -> None:
        """Begin a phase."""
        super().start(label, total=total, done=done)
        self._emit()

    def advance(self, length: int, *, is_hole: bool = False) -> None:
        """Count, and print when it is time."""
        super().advance(length, is_hole=is_hole)
        self._emit()

    def _emit(self) -> None:
        if self.is_due(self._interval_s):
            self._app.event(
                "progress",
                phase=self.label,
                done_bytes=self.done,
                total_bytes=self.total,
                zero_bytes=self.holes,
            )


def chosen(app: App, mode: str) -> Progress:
    """Return what shows the progress of this run."""
    if app.as_json:
        return NoProgress() if app.quiet or mode == "never" else JsonLines(app, fps=1.0)
    if mode == "never" or app.quiet or app.debug:
        return NoProgress()
    if mode == "always" or (is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"):
        return Bar(sys.stderr, fps=_fps())
    return NoProgress()


def close(progress: Progress) -> None:
    """Take the bar away, so that the next line starts on a clear one."""
    if isinstance(progress, Bar):
        progress.close()


def summary(verb: str, size: int, elapsed_s: float) -> str:
    """Return the line at the end: how much, how long, how fast."""
    took = f"{elapsed_s:.1f} s" if elapsed_s < _MINUTE_S else _clock_text(elapsed_s)
    speed = f", {format_size(int(size / elapsed_s))}/s" if elapsed_s > 0 and size else ""
    return f"{verb} {format_size(size)} in {took}{speed}"


def _fps() -> float:
    try:
        fps = float(os.environ.get("DRIVEBAY_PROGRESS_FPS", FPS_MAX))
    except ValueError:
        return FPS_MAX
    return min(max(fps, 0.1), FPS_MAX) if fps == fps else FPS_MAX  # noqa: PLR0124 - not a NaN


def _columns_of(stream: TextIO) -> int:
    """Return how wide the terminal behind *stream* is; stdout may be a pipe."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS


def _blocks_for(stream: TextIO) -> tuple[str, str]:
    try:
        "█░".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#", "."
    return "█", "░"


def _clock_text(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 100 * _HOUR_S:
        return "--:--"
    hours, rest = divmod(whole, _HOUR_S)
    minutes, left = divmod(rest, _MINUTE_S)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
