"""One thread looks after all members in turn, until there are none."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jobledger.runs.processes import rounds
from jobledger.runs.processes.rounds import Rounds
from tests.waiting import wait_until

HOUR = 3600.0


class Member:
    """Notes by which threads it was looked at."""

    def __init__(self, action: Callable[[], float] = lambda: HOUR) -> None:
        self.threads: list[threading.Thread] = []
        self._action = action

    def look(self) -> float:
        self.threads.append(threading.current_thread())
        return self._action()


def looked_at(member: Member, times: int = 1) -> None:
    wait_until(lambda: len(member.threads) >= times, what=f"it is looked at {times} times")


def test_all_members_have_one_thread_which_ends_after_the_last_one() -> None:
    one, other = Member(), Member()
    made = Rounds[Member]("rounds")
    for each in (one, other):
        made.add(each)
        looked_at(each)
    assert one.threads == other.threads
    assert made.members == [one, other]
    made.remove(one)
    made.remove(other)
    wait_until(lambda: not one.threads[0].is_alive(), what="its thread has ended")


def test_each_is_looked_at_as_often_as_it_says_and_when_it_is_asked_for() -> None:
    often, once = Member(lambda: 0.001), Member()
    made = Rounds[Member]("rounds")
    made.add(once)
    made.add(often)
    looked_at(often, 5)
    assert len(once.threads) == 1
    made.look_now(once)
    looked_at(once, 2)
    for each in (often, once):
        made.remove(each)


def test_one_that_is_removed_is_looked_at_no_more_and_has_been_waited_for() -> None:
    begun, may_end, has_ended = threading.Event(), threading.Event(), list[bool]()

    def slowly() -> float:
        begun.set()
        may_end.wait()
        has_ended.append(True)
        return 0.0

    made, member = Rounds[Member]("rounds"), Member(slowly)
    made.add(member)
    begun.wait()
    threading.Timer(0.05, may_end.set).start()
    made.remove(member)
    assert has_ended == [True]
    made.remove(member)


def test_an_error_of_one_is_logged_and_does_not_affect_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rounds, "AFTER_ERROR_SECONDS", 0.001)

    def fail() -> float:
        raise LookupError("no such run")

    made, broken, other = Rounds[Member]("rounds"), Member(fail), Member(lambda: 0.001)
    made.add(broken)
    made.add(other)
    looked_at(broken, 2)
    looked_at(other, 3)
    for each in (broken, other):
        made.remove(each)
    assert "no such run" in caplog.text


def test_all_is_done_inside_of_a_context_which_is_left_at_the_end() -> None:
    events: list[str] = []

    @contextmanager
    def within() -> Iterator[None]:
        events.append("begin")
        yield
        events.append("end")

    made, member = Rounds[Member]("rounds", within), Member()
    made.add(member)
    looked_at(member)
    made.remove(member)
    wait_until(lambda: events == ["begin", "end"], what="the context is left")
