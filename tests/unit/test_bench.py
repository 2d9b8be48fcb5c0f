"""What the benchmark computes and writes; the measurements themselves are no test."""

import ast
import itertools
import json
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import bench
from bench import content, nbd, page, plots, processes, report
from bench.contest import PART_S_MIN, WARM_UP_S, BenchFailed, Contest, Pace, Result, Row, Side, hold
from bench.rows import ROWS
from bench.rows.nbd import require_written
from bench.stats import Sample, Series, Spread, best, percentile, ratio

RATES = st.floats(min_value=0.001, max_value=1e6)


def series(name: str, *values: float, **details: float) -> Series:
    return Series(name, tuple(Sample(value, details) for value in values))


def row(**facts) -> Row:
    given = {
        "key": "read",
        "what": "reads",
        "against": "nginx",
        "unit": "MB/s",
        "floor": 0.75,
        "goal": 1.1,
        "build": lambda _: None,
    }
    return Row(**(given | facts))


class Counter:
    """A side that says when it was measured, and has a value of its own."""

    def __init__(self, name: str, value: float, seen: list[tuple[str, float]]) -> None:
        self.side = Side(name, self.measure)
        self._name, self._value, self._seen = name, value, seen

    def measure(self, seconds: float) -> Sample:
        self._seen.append((self._name, seconds))
        return Sample(self._value)


def measured(**facts) -> Result:
    ours = series("drivebay", 90, 120, 100, p50_ms=1.5)
    peers = (series("slow", 10, 10, 10), series("fast", 100, 100, 100))
    return Result(row(**facts), ours, peers, (series("beside", 1, 1, 1),), "all of it")


class TestStatistics:
    def test_a_spread_is_the_median_between_the_least_and_the_most(self):
        assert Spread.of([3, 1, 2, 10]) == Spread(2.5, 1, 10)

    @given(st.lists(st.tuples(RATES, RATES, RATES), min_size=1))
    def test_what_slows_a_whole_round_does_not_change_the_ratio(self, rounds):
        steady = ratio(
            series("ours", *(ours for ours, _, _ in rounds)),
            series("peer", *(peer for _, peer, _ in rounds)),
        )

        shaken = ratio(
            series("ours", *(ours * factor for ours, _, factor in rounds)),
            series("peer", *(peer * factor for _, peer, factor in rounds)),
        )

        assert shaken.median == pytest.approx(steady.median)
        assert (shaken.least, shaken.most) == pytest.approx((steady.least, steady.most))

    def test_a_ratio_needs_as_many_rounds_on_both_sides(self):
        with pytest.raises(ValueError, match="shorter"):
            ratio(series("ours", 1, 2), series("peer", 1))

    def test_the_best_peer_has_the_highest_median(self):
        steady, lucky = series("steady", 5, 5, 5), series("lucky", 1, 1, 100)

        assert best([lucky, steady]) is steady

    @pytest.mark.parametrize(
        ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)]
    )
    def test_a_percentile_is_one_of_the_values(self, percent, expected):
        assert percentile(range(100, 0, -1), percent) == expected

    @given(st.lists(RATES, min_size=1), st.integers(0, 100))
    def test_so_many_values_lie_at_or_below_a_percentile(self, values, percent):
        found = percentile(values, percent)

        assert sum(value <= found for value in values) * 100 >= percent * len(values)

    def test_details_are_medians_of_what_every_round_has(self):
        taken = Series(
            "one", (Sample(1, {"a": 1, "b": 5}), Sample(1, {"a": 3}), Sample(1, {"a": 2}))
        )

        assert taken.details == {"a": 2}


class TestVerdicts:
    @pytest.mark.parametrize(
        ("value", "verdict"), [(1.1, "goal"), (1.09, "floor"), (0.75, "floor"), (0.74, "below")]
    )
    def test_a_ratio_should_be_high(self, value, verdict):
        assert row().verdict(value) == verdict

    @pytest.mark.parametrize(
        ("value", "verdict"), [(120, "goal"), (121, "floor"), (200, "floor"), (201, "above")]
    )
    def test_a_limit_should_be_kept(self, value, verdict):
        assert row(floor=200, goal=120, is_limit=True).verdict(value) == verdict

    def test_the_best_of_the_peers_is_compared_with_and_no_other(self):
        result = measured()

        assert result.peer is not None
        assert result.peer.name == "fast"
        assert result.measured == Spread(1, 0.9, 1.2)
        assert result.verdict == "floor"

    def test_a_missing_program_and_a_failure_are_named(self):
        assert Result(row(), missing=("nginx",)).verdict == "missing"
        assert Result(row(), failure="other bytes").verdict == "failed"


class TestRounds:
    def test_every_second_round_goes_the_other_way_after_a_warm_up(self):
        seen: list[tuple[str, float]] = []
        sides = [Counter(name, 1, seen).side for name in "abc"]
        contest = Contest(sides[0], [sides[1]], also=[sides[2]])

        hold(row(), contest, Pace(rounds=2, seconds=2), lambda _: None)

        assert seen[:3] == [("a", WARM_UP_S), ("b", WARM_UP_S), ("c", WARM_UP_S)]
        assert "".join(name for name, _ in seen[3:]) == "abccba"
        assert {seconds for _, seconds in seen[3:]} == {2}

    def test_each_side_gets_its_own_samples(self):
        contest = Contest(
            Counter("ours", 6, []).side,
            [Counter("peer", 3, []).side],
            also=[Counter("more", 1, []).side],
            verify=lambda: "all of it",
        )

        result = hold(row(), contest, Pace(rounds=3, seconds=1), lambda _: None)

        assert result.measured == Spread(2, 2, 2)
        assert [one.spread.median for one in result.series] == [6, 3, 1]
        assert result.verified == "all of it"

    def test_a_row_in_parts_moves_to_the_next_side_more_often(self):
        seen: list[tuple[str, float]] = []
        contest = Contest(Counter("a", 1, seen).side, [Counter("b", 1, seen).side])

        hold(row(parts=2), contest, Pace(rounds=2, seconds=2), lambda _: None)

        assert "".join(name for name, _ in seen[2:]) == "abbaabba"
        assert {seconds for _, seconds in seen[2:]} == {1}

    def test_a_quick_run_leaves_out_what_is_not_compared_with(self):
        seen: list[tuple[str, float]] = []
        sides = [Counter(name, 1, seen).side for name in "abc"]
        contest = Contest(sides[0], [sides[1]], also=[sides[2]])

        result = hold(row(), contest, Pace(1, 1, is_quick=True), lambda _: None)

        assert {name for name, _ in seen} == {"a", "b"}
        assert result.also == ()

    @given(st.integers(1, 9), st.floats(0.1, 9), st.integers(1, 9))
    def test_parts_take_as_long_together_as_the_whole(self, rounds, seconds, parts):
        cut = Pace(rounds, seconds).cut(parts)

        assert cut.rounds * cut.seconds == pytest.approx(rounds * seconds)
        assert cut.seconds >= min(seconds, PART_S_MIN)
        assert rounds <= cut.rounds <= rounds * parts

    def test_bytes_that_differ_end_the_row(self):
        def verify() -> str:
            return content.require_same("a", "b", "the drive")

        contest = Contest(Counter("ours", 1, []).side, verify=verify)

        with pytest.raises(BenchFailed, match="the drive"):
            hold(row(), contest, Pace(1, 1), lambda _: None)


class TestReport:
    @pytest.mark.parametrize(
        ("value", "text"), [(0.8124, "0.81"), (31.44, "31.4"), (2650.4, "2,650"), (0, "0.00")]
    )
    def test_a_number_has_the_digits_that_mean_something(self, value, text):
        assert report.number(value) == text

    @pytest.mark.parametrize("width", [80, 160])
    def test_a_terminal_of_any_width_shows_whole_ratios_and_what_is_missing(self, width):
        results = [
            measured(),
            measured(key="idle", is_limit=True),
            Result(row(key="absent"), missing=("nginx",)),
            Result(row(key="broken"), failure="[other] bytes"),
        ]
        console = Console(width=width, record=True)

        report.show(results, console)

        shown = console.export_text()
        assert "1.00 (0.90..1.20)" in shown
        assert "needs nginx" in shown
        assert "failed: [other] bytes" in shown
        assert "≤ 0.75 / ≤ 1.10" in shown

    def test_the_document_is_json_with_every_value(self):
        made = report.document([measured()], Pace(3, 1), {"processor": "one"})

        (found,) = json.loads(json.dumps(made))["rows"]
        assert found["ours"]["values"] == [90, 120, 100]
        assert found["compared_with"] == "fast"
        assert found["measured"] == {"median": 1, "least": 0.9, "most": 1.2}
        assert [one["name"] for one in found["also"]] == ["beside"]


class TestPage:
    @pytest.fixture
    def document(self):
        absent = Result(row(key="absent", note="as it is"), missing=("nginx",))
        broken = Result(row(key="broken"), failure="a | b")
        return report.document([measured(), absent, broken], Pace(3, 1), {"processor": "one"})

    def test_only_what_stands_between_the_marks_is_replaced(self):
        text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"

        once = page.written_into(text, "new")

        assert once == f"before\n{page.BEGIN}\n\nnew\n\n{page.END}\nafter\n"
        assert page.written_into(once, "new") == once

    def test_a_page_without_marks_is_left_alone(self, tmp_path, document):
        path = tmp_path / "page.md"
        path.write_text("nothing\n")

        with pytest.raises(ValueError, match="has no lines"):
            page.publish(document, path, tmp_path / "plots")

        assert path.read_text() == "nothing\n"

    def test_every_row_is_in_the_table_also_where_nothing_was_measured(self, document):
        text = page.markdown(document)

        assert "| `read` | reads | fast | 1.00 (0.90..1.20) | 0.75 / 1.10 | floor |" in text
        assert "| needs nginx |" in text
        assert "| a / b |" in text
        assert "- `absent`: as it is" in text

    def test_the_page_of_the_repository_can_be_written(self, tmp_path, document):
        path = tmp_path / "benchmarks.md"
        path.write_text((Path(__file__).parents[2] / page.PAGE).read_text())

        page.publish(document, path, tmp_path / "benchmarks")

        assert "| processor | one |" in path.read_text()
        assert not plots.are_possible() or (tmp_path / "benchmarks" / "ratios.svg").exists()


class TestContent:
    def test_each_sector_begins_with_its_number_and_none_is_like_another(self, tmp_path):
        path = content.stamped(tmp_path / "noise", 1 << 20)

        data = path.read_bytes()
        sectors = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        assert [int.from_bytes(sector[:8], "little") for sector in sectors] == list(range(256))
        assert len(set(sectors)) == 256

    @given(st.integers(1, 1 << 26), st.integers(1, 1 << 24))
    def test_pieces_cover_everything_once(self, size, length):
        if size // length > 1000:
            length = size

        found = content.pieces(size, length)

        assert found[0][0] == 0
        assert sum(found[-1]) == size
        assert all(sum(one) == after[0] for one, after in itertools.pairwise(found))


class TestPrograms:
    @pytest.fixture
    def fio(self, tmp_path, monkeypatch):
        """A program of that name with two engines."""
        path = tmp_path / "fio"
        path.write_text("#!/bin/sh\nprintf 'Available IO engines:\\n\\tsync\\n\\tnbd\\n'\n")
        path.chmod(0o700)
        monkeypatch.setattr(processes, "SEARCHED", str(tmp_path))

    @pytest.mark.usefixtures("fio")
    @pytest.mark.parametrize(
        ("need", "expected"),
        [("fio", True), ("fio:nbd", True), ("fio:rbd", False), ("nbdcopy", False)],
    )
    def test_a_program_may_be_here_without_what_is_needed_of_it(self, need, expected):
        assert processes.is_here(need) is expected


class TestFio:
    LOAD = nbd.Load("randread", 4096, 16, 4)

    def said(self, **facts) -> str:
        taken = {
            "total_ios": 2000,
            "iops": 1000,
            "bw_bytes": 4_096_000,
            "runtime": 2000,
            "clat_ns": {"percentile": {"50.000000": 5e5, "99.000000": 2e6}},
        }
        job = {"error": 0, "usr_cpu": 5, "sys_cpu": 15, "read": taken, "write": taken} | facts
        return "fio: connected to NBD server\n" + json.dumps({"jobs": [job]}, indent=2)

    def test_requests_are_counted_and_the_cpu_time_is_shared_out_between_them(self):
        found = nbd.sample(self.LOAD, self.said(), server_s=0.1)

        assert found.value == 1000
        assert found.details == pytest.approx(
            {"p50_ms": 0.5, "p99_ms": 2, "client_cpu_us": 800, "server_cpu_us": 50}
        )

    def test_bytes_are_counted_where_they_come_in_order(self):
        found = nbd.sample(nbd.Load("write", 1 << 20, 4), self.said(), server_s=0.1)

        assert found.value == pytest.approx(4.096)

    @pytest.mark.parametrize("facts", [{"error": 5}, {"read": {"total_ios": 0}}])
    def test_errors_and_silence_are_no_measurement(self, facts):
        with pytest.raises(BenchFailed, match="fio"):
            nbd.sample(self.LOAD, self.said(**facts), server_s=0)


class TestWritten:
    """Sixteen sectors in four pieces, of which two were written as a whole."""

    CHECKED = 8 * content.SECTOR

    @pytest.fixture
    def source(self, tmp_path):
        return content.stamped(tmp_path / "noise", 2 * self.CHECKED).read_bytes()

    @pytest.fixture
    def stored(self, source):
        """What fio wrote to the two pieces, and one sector behind them."""
        written = self.CHECKED + content.SECTOR
        sectors = (nbd.pattern(at, content.SECTOR) for at in range(0, written, content.SECTOR))
        return bytearray(b"".join(sectors) + source[written:])

    def look(self, stored, source, length=content.SECTOR):
        pieces = content.pieces(len(source), 4 * content.SECTOR)
        require_written(
            "it",
            (bytes(stored[offset : offset + size]) for offset, size in pieces),
            (source[offset : offset + size] for offset, size in pieces),
            length=length,
            checked=self.CHECKED,
        )

    def test_sectors_of_the_source_and_of_fio_are_right_at_their_places(self, stored, source):
        self.look(stored, source)

    @pytest.mark.parametrize(
        ("place", "source_place"),
        [(0, 0), (4096, 0), (7 * 4096, 7 * 4096), (10 * 4096, 9 * 4096)],
    )
    def test_a_sector_that_was_not_written_or_is_elsewhere_is_found(
        self, stored, source, place, source_place
    ):
        stored[place : place + 4096] = source[source_place : source_place + 4096]

        with pytest.raises(BenchFailed, match=f"the sector at {place} "):
            self.look(stored, source)

    def test_requests_of_other_lengths_count_only_where_they_were_not_the_last(
        self, stored, source
    ):
        with pytest.raises(BenchFailed, match="the sector at 4096 "):
            self.look(stored, source, content.MIB)


class TestRows:
    def test_no_two_rows_have_the_same_name(self):
        assert len({one.key for one in ROWS}) == len(ROWS)

    def test_a_goal_is_never_easier_than_its_floor(self):
        assert all(one.verdict(one.goal) == "goal" for one in ROWS)
        assert all(one.verdict(one.floor) in {"floor", "goal"} for one in ROWS)


def test_what_bench_imports_is_pinned_for_it():
    files = Path(bench.__file__).parent.rglob("*.py")
    found = {
        name.partition(".")[0]
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in _imported(node)
    }
    pinned = {
        line.partition("==")[0].lower()
        for part in ("run", "bench")
        for line in Path(f"requirements/{part}.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    brought = packages_distributions()

    for name in found - sys.stdlib_module_names - {"bench", "drivebay"}:
        assert {one.lower() for one in brought.get(name, [name])} & pinned, name


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
