"""Locks on drives: who waits for whom, for how long, and what a death frees."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from drivebay.errors import DriveBusy
from drivebay.service import locks
from drivebay.service.locks import DriveLocks

DRIVE = UUID("0012e24a-6eae-4279-9912-3432f698cec8")
KINDS = ["reading", "writing", "changing", "freezing"]
TOGETHER = {
    ("reading", "reading"),
    ("reading", "writing"),
    ("writing", "reading"),
    ("writing", "writing"),
    ("reading", "freezing"),
    ("freezing", "reading"),
}
LONG_S = 60

HOLDER = """
import sys
from pathlib import Path
from uuid import UUID
from drivebay.service.locks import DriveLocks

held = DriveLocks(Path(sys.argv[1]))
with getattr(held, sys.argv[2])(UUID(sys.argv[3])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path):
    return tmp_path / "drives.lock"


@pytest.fixture
def held(path: Path):
    return DriveLocks(path)


@pytest.fixture
def no_patience(monkeypatch):
    """Make changes give up at once."""
    monkeypatch.setattr(locks, "EXCLUSIVE_WAIT_S", 0.0)


def holder(path: Path, kind: str) -> "subprocess.Popen[str]":
    """Hold the drive in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), kind, str(DRIVE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("same_object", [True, False])
def test_two_holders_are_together_or_one_after_the_other(held, path, first, second, same_object):
    other = held if same_object else DriveLocks(path)
    has_it = threading.Event()

    def want() -> None:
        with getattr(other, second)(DRIVE):
            has_it.set()

    with ThreadPoolExecutor(1) as pool:
        with getattr(held, first)(DRIVE):
            asked = pool.submit(want)
            if (first, second) in TOGETHER:
                asked.result(LONG_S)
            else:
                assert not has_it.wait(0.02)
        asked.result(LONG_S)


@pytest.mark.parametrize("kind", ["changing", "freezing"])
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.usefixtures("no_patience")
def test_a_change_that_waits_too_long_finds_the_drive_busy(held, path, kind, other):
    with getattr(held, other)(DRIVE):
        if (other, kind) in TOGETHER:
            with getattr(held, kind)(DRIVE):
                pass
            return
        with pytest.raises(DriveBusy) as failure, getattr(DriveLocks(path), kind)(DRIVE):
            pass

    assert failure.value.drive == DRIVE
    with getattr(held, kind)(DRIVE):
        pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("no_patience")
def test_a_failure_inside_frees_the_drive(held, kind):
    with pytest.raises(KeyError), getattr(held, kind)(DRIVE):
        raise KeyError

    with held.changing(DRIVE):
        pass


@pytest.mark.usefixtures("no_patience")
def test_drives_do_not_wait_for_each_other(held):
    with ExitStack() as stack:
        for number in range(200):
            stack.enter_context(held.changing(UUID(int=number << 67)))
        stack.enter_context(held.changing(UUID("ffffffff-ffff-ffff-ffff-ffffffffffff")))
        for _ in range(20):
            stack.enter_context(held.changing(uuid4()))


@pytest.mark.usefixtures("no_patience")
def test_a_holder_that_was_refused_keeps_nothing(held, path):
    with held.reading(DRIVE):
        for _ in range(3):
            with pytest.raises(DriveBusy), held.changing(DRIVE):
                pass
        with DriveLocks(path).freezing(DRIVE):
            pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_holder_that_is_killed_frees_the_drive(held, path, kind):
    with holder(path, kind) as process:
        process.kill()

        with held.changing(DRIVE):
            pass


@pytest.mark.usefixtures("no_patience")
def test_other_processes_are_kept_out(held, path):
    with holder(path, "writing") as process:
        with held.reading(DRIVE):
            pass
        with held.writing(DRIVE):
            pass
        with pytest.raises(DriveBusy), held.freezing(DRIVE):
            pass
        with held.changing(uuid4()):
            pass
        process.kill()


def test_many_threads_on_few_drives_never_meet_a_change(held):
    drives = [UUID(int=number << 67) for number in range(3)]
    inside = dict.fromkeys(drives, 0)
    seen: set[int] = set()

    def transfer(turn: int) -> None:
        drive = drives[turn % 3]
        with held.reading(drive) if turn % 2 else held.writing(drive):
            seen.add(inside[drive])

    def change(turn: int) -> None:
        drive = drives[turn % 3]
        with held.changing(drive):
            inside[drive] += 1
            seen.add(inside[drive] - 1)
            inside[drive] -= 1

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(change if turn % 5 == 0 else transfer, turn) for turn in range(300)]
        for one in asked:
            one.result(LONG_S)

    assert seen == {0}


def test_descriptors_are_used_again(held, path):
    for _ in range(100):
        with held.reading(DRIVE), held.writing(DRIVE):
            pass

    assert held._idle.qsize() == 2
    assert path.stat().st_mode & 0o777 == 0o600
