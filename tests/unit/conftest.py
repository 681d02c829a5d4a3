"""What unit tests share."""

import logging
import random
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import time_machine
from celery import current_app
from django.core.management.commands import flush
from django.db.models import DateTimeField, QuerySet, Value
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from jobledger import clock, views
from jobledger.health import readiness, reading
from jobledger.logs import running
from jobledger.metrics import views as metrics_views
from tests.unit.broker import Broker
from tests.unit.builders import NOON
from tests.unit.emptying import flush_of_this_database

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
DATABASE_CLOCK = clock.now
DATABASE_CLOCK_IN_STATEMENT = clock.in_statement
DATABASE_CLOCK_AS_SQL = clock.as_sql


def in_statement_of_this_process(offset: timedelta = timedelta(0)) -> Value:
    return Value(clock.now() + offset, output_field=DateTimeField())


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The database, which tests with real transactions empty afterwards."""
    with django_db_blocker.unblock():
        handle = flush_of_this_database()
    with patch.object(flush.Command, "handle", handle):
        yield


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's clock is this process's, which tests set, also with PostgreSQL."""
    monkeypatch.setattr(clock, "now", timezone.now)
    monkeypatch.setattr(clock, "in_statement", in_statement_of_this_process)
    monkeypatch.setattr(clock, "as_sql", lambda: "NULL")


@pytest.fixture(name="clock")
def stopped_clock() -> Iterator[time_machine.Traveller]:
    """Stands still at noon until it is shifted."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def probes_read_in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other thread sees what a test has written. What one test has read is not reused in the next."""
    monkeypatch.setattr(reading, "_in_thread", reading.answer_with)
    for each in (views.database, readiness.reading, metrics_views.families):
        monkeypatch.setattr(each, "_attempts", [])


@pytest.fixture(autouse=True)
def one_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A called ``manage.py`` does not bind the log to the stderr of a test, which is closed afterwards."""
    monkeypatch.setattr("django.utils.log.configure_logging", lambda *configuration: None)


@pytest.fixture(autouse=True)
def same_formatters(one_log: None) -> Iterator[None]:
    """The handlers of the log, among them pytest's own, write for the next test as they did for this one."""
    before = {handler: handler.formatter for handler in logging.root.handlers}
    yield
    assert {handler: handler.formatter for handler in before} == before


@pytest.fixture(autouse=True)
def no_last_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's lines about one test's task are not about the run of another test that had its id."""
    monkeypatch.setattr(running, "_here", SimpleNamespace(last=None))


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """What a test does to the signals that end a process does not reach the next one."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.fixture(autouse=True)
def any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose order nobody asked for come in any order, as PostgreSQL may return them."""
    fetch_all = QuerySet._fetch_all

    def fetch_all_shuffled(rows: "QuerySet[Any]") -> None:
        is_fetched = rows._result_cache is not None
        fetch_all(rows)
        if rows._result_cache and not is_fetched and not rows.ordered:
            random.shuffle(rows._result_cache)

    monkeypatch.setattr(QuerySet, "_fetch_all", fetch_all_shuffled)


@pytest.fixture
def heeded_signals(own_signals: None) -> None:
    """No signal that ends a process is ignored, as with nohup, or in the background of a script."""
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Everything that Celery publishes goes there."""
    made = Broker()
    monkeypatch.setattr(
        current_app, "producer_or_acquire", lambda producer=None: nullcontext(producer or made)
    )
    return made
