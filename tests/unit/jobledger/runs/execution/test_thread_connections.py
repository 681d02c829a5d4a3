"""A worker's child closes what threads that have ended have left open."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from jobledger.runs.execution import thread_connections

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def begun() -> Iterator[None]:
    thread_connections.begin()
    yield
    thread_connections.end()


@pytest.fixture
def connect(tmp_path: Path) -> Callable[[], DatabaseWrapper]:
    """Opens a connection of the thread that calls it."""
    settings = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3"}
    settings |= {"NAME": str(tmp_path / "own.sqlite3"), "OPTIONS": {}}

    def open_one() -> DatabaseWrapper:
        connection = DatabaseWrapper(settings, "own")
        connection.connect()
        return connection

    return open_one


def in_a_thread(connect: Callable[[], DatabaseWrapper]) -> DatabaseWrapper:
    opened: list[DatabaseWrapper] = []
    thread = threading.Thread(target=lambda: opened.append(connect()))
    thread.start()
    thread.join()
    return opened[0]


def test_they_are_closed_when_asked_for_and_the_main_threads_own_is_not(
    connect: Callable[[], DatabaseWrapper],
) -> None:
    mine, ended = connect(), in_a_thread(connect)
    assert ended.connection is not None
    thread_connections.close_those_of_ended_threads()
    assert ended.connection is None
    assert mine.connection is not None
    mine.close()


def test_they_are_closed_when_another_thread_opens_one(connect: Callable[[], DatabaseWrapper]) -> None:
    first, second = in_a_thread(connect), in_a_thread(connect)
    assert first.connection is None
    assert second.connection is not None
    thread_connections.close_those_of_ended_threads()


def test_one_of_a_thread_that_goes_on_stays_open(connect: Callable[[], DatabaseWrapper]) -> None:
    opened, is_open, may_end = list[DatabaseWrapper](), threading.Event(), threading.Event()

    def work() -> None:
        opened.append(connect())
        is_open.set()
        may_end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    is_open.wait()
    thread_connections.close_those_of_ended_threads()
    assert opened[0].connection is not None
    may_end.set()
    thread.join()
    thread_connections.close_those_of_ended_threads()
    assert opened[0].connection is None


def test_a_child_that_a_job_forks_does_not_close_its_parents(
    connect: Callable[[], DatabaseWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = in_a_thread(connect)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    thread_connections.close_those_of_ended_threads()
    assert ended.connection is not None
    ended.inc_thread_sharing()
    ended.close()
