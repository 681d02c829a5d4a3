"""A fork waits for who is in the middle of something, but not for ever, and not for who comes later."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobledger.runs.execution import fork_gate
from jobledger.runs.execution.fork_gate import gate

MOST_TURNS = 500


@contextmanager
def inside() -> Iterator[None]:
    """In the middle of something."""
    gate.enter()
    try:
        yield
    finally:
        gate.leave()


@contextmanager
def a_thread_inside() -> Iterator[threading.Event]:
    """A thread that is inside until it is let go."""
    is_inside, go = threading.Event(), threading.Event()

    def stay() -> None:
        with inside():
            is_inside.set()
            go.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    assert is_inside.wait(30)
    try:
        yield go
    finally:
        go.set()
        thread.join()


def exit_code_of_a_child() -> int:
    """A child that enters itself, forks itself, and ends."""
    pid = os.fork()
    if pid == 0:
        with inside():
            pass
        os._exit(
            7 if (grandchild := os.fork()) == 0 else os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
        )
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Python warns of a fork beside threads, which is what this is about.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_until_no_thread_is_inside() -> None:
    order = []
    with a_thread_inside() as go:
        child = threading.Thread(target=lambda: order.append(exit_code_of_a_child()))
        child.start()
        # Nothing else would keep it that long.
        child.join(0.5)
        assert order == []
        go.set()
        child.join()
    assert order == [7]
    assert exit_code_of_a_child() == 7


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_that_are_inside_by_turns_do_not_keep_a_fork_waiting() -> None:
    threads: list[threading.Thread] = []
    is_forked = threading.Event()

    def begin() -> threading.Event:
        is_inside = threading.Event()
        threads.append(threading.Thread(target=go_in, args=[is_inside]))
        threads[-1].start()
        return is_inside

    def go_in(is_inside: threading.Event) -> None:
        with inside():
            is_inside.set()
            if not is_forked.is_set() and len(threads) < MOST_TURNS:
                # The next one comes in before this one leaves, unless a fork is first.
                begin().wait(0.5)

    assert begin().wait(30)
    assert exit_code_of_a_child() == 7
    turns = len(threads)
    is_forked.set()
    for thread in threads:
        thread.join()
    assert turns < MOST_TURNS


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_that_ctrl_c_ended_before_it_began_keeps_nobody_out() -> None:
    gate.open()
    with a_thread_inside():
        pass
    assert exit_code_of_a_child() == 7


def test_who_hangs_inside_keeps_nobody_else_out() -> None:
    with a_thread_inside(), a_thread_inside():
        pass


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_wait_for_ever_and_the_child_can_go_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fork_gate, "LONGEST_WAIT_SECONDS", 0.01)
    with a_thread_inside():
        assert exit_code_of_a_child() == 7
