"""The database goes down or is locked: beat waits, logs it once, and continues."""

from datetime import UTC, datetime

import pytest

from tests.integration.database import database_away, is_sqlite, sqlite_locked
from tests.integration.schedules.beats import IMPATIENT, changes, newer_slot, settled
from tests.integration.service import Service
from tests.integration.slots import SECOND, Span, perfect, schedule_every_second
from tests.waiting import wait_until

STEP_SECONDS = 5
# A slot passes.
OUTAGE_SECONDS = 6


def quiet_time(running: Service, name: str, beat: str, **variables: str) -> datetime:
    """Start a schedule and a beat; returns the last slot, which has run, seconds before the next."""
    schedule_every_second(running, name, every=STEP_SECONDS)
    running.start_beat(beat, **variables)
    return wait_until(
        lambda: newer_slot(running, name, datetime.now(UTC) - (STEP_SECONDS - 1) * SECOND),
        what="a run has just ended",
    )


def wait_until_later(than: datetime, seconds: int) -> None:
    wait_until(lambda: datetime.now(UTC) > than + seconds * SECOND, what="the outage has lasted a while")


def assert_goes_on(running: Service, name: str, since: datetime, beat: str) -> None:
    """The database went down shortly after this slot, and is back."""
    wait_until(lambda: "The database is back" in running.log(beat), what="beat goes on")
    step = STEP_SECONDS * SECOND
    span = Span(since=since, until=datetime.now(UTC), step=step)
    figures = settled(running, name, span)
    said = changes(running, beat)
    print(f"{figures}; beat said {said}")
    assert figures == perfect(len(span))
    assert said == {"Waiting for the database": 1, "The database is back": 1}


@pytest.mark.every_database
def test_beat_waits_for_the_database_logs_it_once_and_continues(running: Service) -> None:
    since = quiet_time(running, "no database", "beat-without-database")
    with database_away(running):
        wait_until(
            lambda: "Waiting for the database" in running.log("beat-without-database"), what="beat notices"
        )
        wait_until_later(since, OUTAGE_SECONDS)
        assert running.is_running("beat-without-database")
    assert_goes_on(running, "no database", since, "beat-without-database")


def test_beat_waits_for_a_locked_database_as_well(running: Service) -> None:
    if not is_sqlite(running):
        pytest.skip("only SQLite is locked as a whole")
    since = quiet_time(running, "locked", "beat-locked-out", **IMPATIENT)
    with sqlite_locked(running):
        wait_until(lambda: "database is locked" in running.log("beat-locked-out"), what="beat gives up")
        wait_until_later(since, OUTAGE_SECONDS)
    assert_goes_on(running, "locked", since, "beat-locked-out")
