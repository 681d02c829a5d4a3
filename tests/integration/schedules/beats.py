"""What happens to the slots of schedules that are due every few seconds, and what beat logs."""

from datetime import UTC, datetime

from tests.integration.service import Service
from tests.integration.slots import Figures, Span, audit, is_settled, newest_slot
from tests.waiting import wait_until

# A message lost by a killed Redis is published again after this time, instead of a minute.
REPUBLISH = {"REPUBLISH_AFTER_SECONDS": "3"}
IMPATIENT = {"DJANGO_SETTINGS_MODULE": "tests.integration.schedules.impatient_settings"}
CHANGES = ("Waiting for the database", "The database is back", "Waiting for the broker", "The broker is back")


def this_second() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def newer_slot(running: Service, name: str, than: datetime) -> datetime | None:
    """The last slot of these schedules whose run has succeeded, if it is after the given time."""
    slot = newest_slot(running, name)
    return slot if slot and slot > than else None


def settled(running: Service, name: str, span: Span) -> Figures:
    """The figures of a span once everything that was due in it is over, or after the timeout."""
    try:
        wait_until(
            lambda: is_settled(running, name, span.until),
            what=f"all runs of {name} are over",
        )
    except TimeoutError as error:
        raise AssertionError(f"{error}; {audit(running, name, span)}") from error
    return audit(running, name, span)


def changes(running: Service, beat: str) -> dict[str, int]:
    """How often a beat has logged that a part of the service went down or came back."""
    log = running.log(beat)
    return {line: log.count(line) for line in CHANGES if line in log}
