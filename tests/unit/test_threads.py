"""Blocking work for the loop: done to its end, once, and its outcome where it was asked for."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

from drivebay.http.threads import Threads

LONG_S = 60
COUNT = 3


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(COUNT, "test")
    yield made
    made.close()


@pytest.fixture
def complaints() -> list[dict[str, Any]]:
    """What the loop complained of."""
    return []


@pytest.fixture
def run(complaints):
    """Run a coroutine in a loop of its own that may complain of nothing."""

    def run_alone(coroutine: Coroutine[Any, Any, None]) -> None:
        async def watched() -> None:
            handler = lambda _, context: complaints.append(context)  # noqa: E731
            asyncio.get_running_loop().set_exception_handler(handler)
            await asyncio.wait_for(coroutine, LONG_S)
            gc.collect()

        asyncio.run(watched())
        assert complaints == []

    return run_alone


async def turns() -> None:
    """Let the loop do all that it could do now."""
    for _ in range(10):
        await asyncio.sleep(0)


def at_work() -> int:
    return sum(thread.name.startswith("test-") for thread in threading.enumerate())


class Gate:
    """Work that says when it has begun, and goes on when it is let."""

    def __init__(self, outcome: BaseException | None = None) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.has_ended = False
        self._outcome = outcome

    def __call__(self) -> str:
        self.begun.set()
        assert self.may_end.wait(LONG_S)
        self.has_ended = True
        if self._outcome is not None:
            raise self._outcome
        return "through"

    async def wait_begun(self) -> None:
        begun = await asyncio.to_thread(self.begun.wait, LONG_S)
        assert begun


def test_what_a_function_returns_in_a_thread_is_what_the_call_returns(threads, run):
    def work(*args: int, **kwargs: int) -> tuple[object, ...]:
        return args, kwargs, threading.current_thread().name

    async def ask() -> None:
        assert await threads.call(work, 1, 2, three=3) == ((1, 2), {"three": 3}, "test-0")

    run(ask())


class Odd(BaseException):
    pass


@pytest.mark.parametrize("kind", [KeyError, OSError, Odd, GeneratorExit, asyncio.CancelledError])
def test_what_it_raises_is_raised_where_it_was_called_and_the_thread_goes_on(threads, run, kind):
    failure = kind("said so")

    def fail() -> None:
        raise failure

    async def ask() -> None:
        with pytest.raises(kind) as raised:
            await threads.call(fail)
        assert raised.value is failure
        assert await threads.call(threading.get_ident) == await threads.call(threading.get_ident)

    run(ask())


def test_an_iterator_that_is_over_is_a_failure_too(threads, run):
    """A future takes no StopIteration, and whoever waits must not wait for ever."""

    async def ask() -> None:
        with pytest.raises(RuntimeError):
            await threads.call(next, iter(()))

    run(ask())


def test_as_much_is_done_at_once_as_there_are_threads_and_no_more(threads, run):
    together = threading.Barrier(COUNT)
    lock, now, most = threading.Lock(), [0], [0]

    def work(number: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(LONG_S)
        with lock:
            now[0] -= 1
        return number

    async def ask() -> None:
        numbers = range(20 * COUNT)
        assert await asyncio.gather(*(threads.call(work, n) for n in numbers)) == [*numbers]

    run(ask())

    assert most == [COUNT]
    assert at_work() == COUNT


def test_a_thread_is_started_only_where_the_others_are_busy(threads, run):
    async def ask() -> None:
        for _ in range(50):
            await threads.call(int)
        assert at_work() == 1
        gate = Gate()
        held = asyncio.create_task(threads.call(gate))
        await turns()
        for _ in range(50):
            await threads.call(int)
        assert at_work() == 2
        gate.may_end.set()
        await held

    assert at_work() == 0
    run(ask())


@pytest.mark.parametrize("outcome", [None, KeyError("late"), Odd("late")], ids=str)
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_caller_that_is_cancelled_returns_when_the_thread_has_ended(threads, run, outcome, times):
    gate = Gate(outcome)

    async def ask() -> None:
        task = asyncio.create_task(threads.call(gate))
        await gate.wait_begun()
        for _ in range(times):
            task.cancel()
            await turns()
            assert not task.done()
        gate.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.has_ended

    run(ask())


def test_what_was_given_is_done_though_its_caller_was_cancelled_before_a_thread_was_free(run):
    threads = Threads(1, "test")
    first, second = Gate(), Gate()
    second.may_end.set()

    async def ask() -> None:
        held = asyncio.create_task(threads.call(first))
        await first.wait_begun()
        task = asyncio.create_task(threads.call(second))
        await turns()
        task.cancel()
        await turns()
        assert not task.done()
        first.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert second.has_ended
        assert await held == "through"
        assert await threads.call(int) == 0

    run(ask())
    threads.close()


def test_a_deadline_around_a_call_is_kept_once_the_thread_has_ended(threads, run):
    gate = Gate()

    async def hurry() -> None:
        # Let through before the deadline comes, in the same turn of the loop.
        asyncio.get_running_loop().call_soon(gate.may_end.set)
        async with asyncio.timeout(0):
            await threads.call(gate)

    async def ask() -> None:
        task = asyncio.create_task(threads.call(gate))
        await gate.wait_begun()
        with pytest.raises(TimeoutError):
            await hurry()
        assert gate.has_ended
        assert await task == "through"

    run(ask())


def test_many_that_are_cancelled_at_any_moment_leave_all_threads_free(threads, run):
    ended = []

    async def ask() -> None:
        for number in range(300):
            task = asyncio.create_task(threads.call(ended.append, number))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            # A task that was cancelled before it ran has given nothing.
            assert number % 4 == 0 or ended[-1] == number
        together = threading.Barrier(COUNT)
        await asyncio.gather(*(threads.call(together.wait, LONG_S) for _ in range(COUNT)))

    run(ask())


def test_closing_waits_for_all_the_work_that_was_given(run):
    threads = Threads(COUNT, "test")
    gates = [Gate() for _ in range(5 * COUNT)]

    async def ask() -> None:
        tasks = [asyncio.create_task(threads.call(gate)) for gate in gates]
        await turns()
        opener = threading.Thread(target=lambda: [gate.may_end.set() for gate in gates])
        opener.start()

        threads.close()

        assert all(gate.has_ended for gate in gates)
        opener.join(LONG_S)
        assert await asyncio.gather(*tasks) == ["through"] * len(gates)

    run(ask())
    assert at_work() == 0


def test_closing_what_never_worked_does_nothing():
    Threads(COUNT, "test").close()


def test_a_loop_that_was_closed_meanwhile_is_not_told(recwarn):
    """The process ends: the work is done all the same, and no thread dies of it."""
    threads, gate, later = Threads(1, "test"), Gate(), Gate()
    later.may_end.set()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    tasks = [loop.create_task(threads.call(work)) for work in (gate, later)]
    loop.run_until_complete(gate.wait_begun())
    loop.close()

    gate.may_end.set()
    threads.close()

    assert gate.has_ended
    assert later.has_ended
    assert not any(task.done() for task in tasks)
    assert not recwarn.list


class Large:
    """Something that one would not want to keep."""


def test_a_thread_that_waits_keeps_nothing_of_what_it_did(threads, run):
    async def work() -> None:
        large = Large()
        kept = weakref.ref(large)

        await threads.call(lambda it: None, large)
        del large
        while kept() is not None:  # The thread says so a moment before it lets go.
            await asyncio.sleep(0)
            gc.collect()

    run(work())


def test_work_waits_for_a_thread_that_is_there_where_no_more_can_be_had(threads, run, monkeypatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def work() -> None:
        gate = threading.Event()
        first = asyncio.ensure_future(threads.call(gate.wait, LONG_S))
        await turns()
        monkeypatch.setattr(threading.Thread, "start", refuse)

        second = asyncio.ensure_future(threads.call(lambda: "done"))
        await turns()
        gate.set()

        assert await first
        assert await second == "done"

    run(work())


def test_without_any_thread_each_call_fails_for_itself(run, monkeypatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def work() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(2 * COUNT):
                with pytest.raises(RuntimeError, match="can't start"):
                    await none.call(lambda: "never")

        assert await none.call(lambda: "done") == "done"

    none = Threads(COUNT, "test")
    run(work())
    none.close()
