"""The thread in beat: it starts with beat, and nothing that fails in it keeps the rest from working."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.signals import beat_embedded_init, beat_init
from django.db import OperationalError

from jobledger import clock
from jobledger.alerts.sending import background
from jobledger.alerts.sending.background import Background, Senders
from jobledger.models import Run, Status
from jobledger.runs.elsewhere import looking
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Background]:
    monkeypatch.setattr(background, "MIN_PERIOD_SECONDS", 0.01)
    made = Background()
    yield made
    made.end()
    if made._thread is not None:
        made._thread.join()


@pytest.mark.parametrize("signal", [beat_init, beat_embedded_init])
def test_it_starts_with_beat(monkeypatch: pytest.MonkeyPatch, signal: Any) -> None:
    begun = []
    monkeypatch.setattr(background, "begin", lambda: begun.append(signal))
    # The others look at the database.
    (starts,) = [each for each in signal._live_receivers(None) if each.__module__ == "jobledger.apps"]
    starts(sender=None)
    assert begun == [signal]


def test_every_step_is_repeated_and_an_error_in_one_does_not_stop_the_others(
    quick: Background, caplog: pytest.LogCaptureFixture
) -> None:
    done = list[str]()

    def fails(now: object) -> None:
        done.append("fails")
        raise ZeroDivisionError

    def is_down(now: object) -> None:
        done.append("down")
        raise OperationalError("no database")

    quick._steps = [("a", 0, fails), ("b", 0, is_down), ("c", 0, lambda now: done.append("works"))]
    quick.begin()
    wait_until(lambda: done.count("works") > 2)
    assert {"fails", "down"} <= set(done)
    assert "an unexpected error" in caplog.text
    assert "no database" not in caplog.text


def test_a_step_waits_for_its_interval(quick: Background) -> None:
    done = list[str]()
    quick._steps = [("rare", 3600, lambda now: done.append("rare"))]
    for _ in range(3):
        quick.step()
    assert done == ["rare"]


def test_a_scan_that_takes_long_is_repeated_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundred thousand runs that are late, for example."""
    began, made, now = list[float](), Background(), 0

    def scan(_: object) -> None:
        nonlocal now
        began.append(now)
        now += 6

    clocks = SimpleNamespace(monotonic=lambda: now, thread_time=lambda: now)
    monkeypatch.setattr(background, "time", clocks)
    made._steps = [(background.SCANS[0], 15, scan)]
    while now < 300:
        made.step()
        now += 1
    assert began == [0, 120, 240]


def test_a_scan_that_waits_for_the_database_is_repeated_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    began, made, now = list[float](), Background(), 0

    def scan(_: object) -> None:
        nonlocal now
        began.append(now)
        now += 6

    monkeypatch.setattr(background, "time", SimpleNamespace(monotonic=lambda: now, thread_time=lambda: 0))
    made._steps = [(background.SCANS[0], 15, scan)]
    while now < 40:
        made.step()
        now += 1
    assert began == [0, 15, 30]


def test_it_sleeps_until_the_next_step_is_due(quick: Background) -> None:
    quick._steps = [("rare", 3600, lambda now: None), ("soon", 60, lambda now: None)]
    quick.step()
    assert 50 < quick._seconds_to_wait() <= 60


def test_what_is_due_is_sent_at_once_if_beat_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MIN_PERIOD_SECONDS", 3600)
    done, made = list[str](), Background()
    made._steps = [
        ("pings", 3600, lambda now: done.append("pings")),
        ("x", 3600, lambda now: done.append("x")),
    ]
    made.step()
    made.begin()
    made.hurry()
    try:
        wait_until(lambda: len(done) > 2)
    finally:
        made.end()
    assert done == ["pings", "x", "pings"]


def test_a_result_backend_that_hangs_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch, quick: Background
) -> None:
    looks, done, answers = list[str](), list[str](), threading.Event()

    def hang() -> None:
        looks.append("look")
        answers.wait()

    monkeypatch.setattr(quick._looking, "look", hang)
    monkeypatch.setattr(looking, "is_due", lambda now: True)
    results = next(step for step in quick._steps if step[0] == background.RESULTS)
    quick._steps = [results, ("other", 0, lambda now: done.append("other"))]
    quick.begin()
    try:
        wait_until(lambda: looks)
        quick.hurry((background.RESULTS,))
        before = len(done)
        wait_until(lambda: len(done) > before + 2)
        assert looks == ["look"]
    finally:
        answers.set()
        quick._lookers.join(60)


@pytest.mark.parametrize(("seconds", "count"), [(0, 1), (1, 0)])
def test_there_is_a_thread_for_results_only_when_a_run_is_due(
    monkeypatch: pytest.MonkeyPatch, seconds: int, count: int
) -> None:
    started, now, made = list[str](), clock.now(), Background()
    monkeypatch.setattr(made._lookers, "start", lambda recipient, send: started.append(recipient))
    Run.objects.create(job="elsewhere", status=Status.SENT, look_at=now + timedelta(seconds=seconds))
    made._look_for_results(now)
    assert len(started) == count


def test_one_look_at_the_clock_serves_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, made = list[None](), Background()
    monkeypatch.setattr(clock, "now", lambda: looks.append(None))
    made._steps = [(name, 0, lambda now: None) for name in ("a", "b")]
    made.step()
    assert len(looks) == 1


def test_the_connection_is_kept_from_step_to_step_unless_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, made = list[str](), Background()
    monkeypatch.setattr(background, "close_connections", lambda: closed.append("closed"))

    def is_down(now: object) -> None:
        raise OperationalError("no database")

    made._steps = [("a", 0, lambda now: None), ("b", 0, lambda now: None)]
    made.step()
    assert closed == []
    made._steps = [("a", 0, is_down)]
    made.step()
    assert closed == ["closed"]


def test_a_sender_leaves_no_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, senders = list[str](), Senders()
    monkeypatch.setattr(background, "close_connections", lambda: closed.append("closed"))
    senders.start("team", lambda: None)
    senders.join(60)
    assert closed == ["closed"]


def test_it_starts_only_once(quick: Background) -> None:
    quick._steps = []
    quick.begin()
    thread = quick._thread
    quick.begin()
    assert quick._thread is thread


def test_only_so_many_recipients_are_served_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MAX_THREADS", 2)
    senders, release, begun = Senders(), threading.Event(), list[int]()

    def send(number: int) -> None:
        begun.append(number)
        release.wait(60)

    for number in range(3):
        senders.start(f"to {number}", lambda number=number: send(number))  # type: ignore[misc]
    wait_until(lambda: len(begun) == 2)
    release.set()
    senders.join(60)
    assert sorted(begun) == [0, 1]


def test_what_could_not_be_sent_is_logged_and_ends_only_its_own_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    senders = Senders()
    senders.start("broken", lambda: 1 / 0)
    senders.join(60)
    assert "an unexpected error" in caplog.text
