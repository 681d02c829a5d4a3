"""What probes read is read by one thread for all of them, and none waits longer than it should."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError

from jobledger.health import reading
from jobledger.health.reading import NoAnswerError, Reading
from tests.waiting import DEADLINE_SECONDS, wait_until

start = reading._in_thread


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_answer = threading.Event()

    def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        self.may_answer.wait()
        return number


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_in_thread", start)


@pytest.fixture
def slow() -> Iterator[Slow]:
    made = Slow()
    yield made
    made.may_answer.set()
    wait_until(lambda: not any(each.name == "reading" for each in threading.enumerate()))


def test_all_who_ask_while_a_thread_reads_get_its_answer(slow: Slow) -> None:
    read = Reading(slow, within_seconds=DEADLINE_SECONDS, reused_seconds=DEADLINE_SECONDS)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(read.get)
        wait_until(lambda: slow.calls)
        others = [pool.submit(read.get) for _ in range(3)]
        slow.may_answer.set()
        assert [each.result() for each in (first, *others)] == [1, 1, 1, 1]


def test_while_a_thread_hangs_nobody_else_waits_and_afterwards_there_is_an_answer(slow: Slow) -> None:
    read = Reading(slow, within_seconds=0)
    for _ in range(5):
        with pytest.raises(NoAnswerError, match="no answer within 0 s"):
            read.get()
    assert slow.calls == 1
    slow.may_answer.set()
    wait_until(lambda: answer_of(read))
    assert read._attempts[-1].answer.result() >= 1


def answer_of(read: "Reading[int]") -> int | None:
    try:
        return read.get()
    except NoAnswerError:
        return None


def test_a_thread_that_hangs_for_long_is_replaced_but_there_are_never_many(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_THREADS", 3)
    read = Reading(slow, within_seconds=0)
    for minute in range(6):
        monkeypatch.setattr(time, "monotonic", lambda now=61.0 * minute: now)
        with pytest.raises(NoAnswerError):
            read.get()
    assert slow.calls == 3


@pytest.mark.parametrize(("reused_seconds", "expected"), [(0, [1, 2]), (60, [1, 1])])
def test_an_answer_is_reused_for_as_long_as_it_may_be(reused_seconds: float, expected: list[int]) -> None:
    numbers = iter((1, 2))
    read = Reading(lambda: next(numbers), within_seconds=DEADLINE_SECONDS, reused_seconds=reused_seconds)
    assert [read.get(), read.get()] == expected


def test_an_error_reaches_who_asks() -> None:
    def fail() -> None:
        raise OperationalError("gone")

    with pytest.raises(OperationalError, match="gone"):
        Reading(fail, within_seconds=DEADLINE_SECONDS).get()
