"""PostgreSQL can wake beat; with any other database, and behind a pooler, beat does not listen."""

import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from jobledger.runs import ledger_connection
from jobledger.runs.publishing import wake_up
from jobledger.runs.publishing.wake_up import MAX_AGE_SECONDS, Listener
from tests.unit.postgres import Server, server_or_skip
from tests.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.end()


@pytest.fixture
def postgres() -> Iterator[Server]:
    with server_or_skip("only PostgreSQL can wake a process") as found:
        yield found


def is_woken(listener: Listener, seconds: float = DEADLINE_SECONDS) -> bool:
    """Whether it is woken within the time; if it is not, that takes the whole time."""
    before = monotonic()
    listener.wait(seconds)
    return monotonic() - before < seconds


def test_sqlite_wakes_nobody(listener: Listener) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL does")
    wake_up.beats()
    listener.begin()
    assert not listener.is_listening
    listener.wait(DEADLINE_SECONDS)


def test_it_is_woken_once_for_everything_in_a_transaction(postgres: Server, listener: Listener) -> None:
    listener.begin()
    with transaction.atomic():
        wake_up.beats()
        wake_up.beats()
        assert not is_woken(listener, 0.05)
    assert is_woken(listener)
    assert not is_woken(listener, 0.05)


def test_it_is_woken_while_it_waits(postgres: Server, listener: Listener) -> None:
    listener.begin()
    thread = threading.Thread(target=lambda: listener.wait(DEADLINE_SECONDS))
    thread.start()
    wake_up.beats()
    thread.join(DEADLINE_SECONDS / 2)
    assert not thread.is_alive()


def test_the_last_part_of_an_exact_wait_is_too_short_to_end_late() -> None:
    """Linux may add a thousandth to each part."""
    first, end = wake_up.parts(4.0, exactly=True)
    assert end == 4.0
    assert first * 1.001 < end
    assert (end - first) * 0.001 < 0.0001
    assert wake_up.parts(4.0, exactly=False) == (4.0,)


def test_an_exact_wait_takes_the_whole_time_and_can_be_ended_too(
    postgres: Server, listener: Listener
) -> None:
    listener.begin()
    before = monotonic()
    listener.wait(0.05, exactly=True)
    assert monotonic() - before >= 0.05
    wake_up.beats()
    before = monotonic()
    listener.wait(DEADLINE_SECONDS, exactly=True)
    assert monotonic() - before < DEADLINE_SECONDS


def test_what_was_rolled_back_wakes_nobody(postgres: Server, listener: Listener) -> None:
    listener.begin()
    with transaction.atomic():
        wake_up.beats()
        transaction.set_rollback(True)
    assert not is_woken(listener, 0.05)


def test_a_lost_connection_ends_the_wait_and_is_opened_again(postgres: Server, listener: Listener) -> None:
    listener.begin()
    postgres.close_all()
    while listener.is_listening:
        assert is_woken(listener)
    connection.close()
    listener.begin()
    wake_up.beats()
    assert is_woken(listener)


def test_a_connection_is_replaced_from_time_to_time(
    postgres: Server, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener.begin()
    first, now = listener._connection, monotonic()
    listener.begin()
    assert listener._connection is first
    monkeypatch.setattr(wake_up, "monotonic", lambda: now + MAX_AGE_SECONDS + 1)
    listener.begin()
    assert listener._connection is not first


class PoolersCursor:
    """Claims that another of the server's processes is at the other end."""

    def __enter__(self) -> "PoolersCursor":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def execute(self, statement: str) -> None:
        assert statement == "SELECT pg_backend_pid()"

    def fetchone(self) -> tuple[int]:
        return (1,)


def test_behind_a_pooler_it_does_not_listen(
    postgres: Server, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = ledger_connection.another
    made: list[Any] = []

    def pooled(usual: Any) -> Any:
        made.append(found := another(usual))
        found.ensure_connection()
        monkeypatch.setattr(found, "cursor", PoolersCursor)
        return found

    monkeypatch.setattr(ledger_connection, "another", pooled)
    for _ in range(2):
        listener.begin()
    assert not listener.is_listening
    assert [each.connection for each in made] == [None]


def test_an_outage_is_reported(postgres: Server, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(usual: Any) -> Any:
        raise OperationalError("no server")

    monkeypatch.setattr(ledger_connection, "another", refuse)
    with pytest.raises(OperationalError):
        listener.begin()
    monkeypatch.undo()
    listener.begin()
    assert listener.is_listening
