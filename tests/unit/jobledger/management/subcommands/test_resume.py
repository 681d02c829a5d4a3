"""``jobledger resume`` lifts pauses, and says what is still in the way."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from jobledger.models import Pause
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = pytest.mark.django_db

BUT = "But the whole service is paused; `manage.py jobledger resume` without a name lifts that."


def told(*line: str) -> tuple[str, str]:
    """What it writes to stdout and to stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "resume", *line, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def open_pauses() -> int:
    return Pause.objects.active_at(timezone.now()).count()


def test_a_schedules_pauses_are_lifted_and_counted() -> None:
    schedule = hourly()
    Pause.objects.create(schedule=schedule)
    assert told("hourly") == ("hourly is resumed: 1 pause lifted.\n", "")
    Pause.objects.bulk_create(Pause(schedule=schedule) for _ in range(2))
    assert told("hourly") == ("hourly is resumed: 2 pauses lifted.\n", "")
    assert (open_pauses(), Pause.objects.count()) == (0, 3)


def test_without_a_name_the_whole_service_is_resumed() -> None:
    Pause.objects.create()
    assert told() == ("The whole service is resumed: 1 pause lifted.\n", "")
    assert open_pauses() == 0


def test_what_is_not_paused_is_an_error() -> None:
    hourly()
    for line in ["hourly"], []:
        with pytest.raises(CommandError, match=r" is not paused\.$") as raised:
            told(*line)
        assert raised.value.returncode == 1


def test_an_unknown_schedule_is_an_error() -> None:
    with pytest.raises(CommandError, match=r"^There is no schedule 'x'\.$"):
        told("x")


def test_a_resumed_schedule_is_told_to_wait_for_the_paused_service() -> None:
    Pause.objects.create(schedule=hourly())
    Pause.objects.create()
    assert told("hourly") == ("hourly is resumed: 1 pause lifted.\n", f"{BUT}\n")


def test_a_schedule_that_only_the_service_stops_is_an_error_that_says_so() -> None:
    hourly()
    Pause.objects.create()
    with pytest.raises(CommandError) as raised:
        told("hourly")
    assert str(raised.value) == f"hourly is not paused. {BUT}"
    assert open_pauses() == 1


def test_a_resumed_service_leaves_and_names_what_is_paused_by_itself() -> None:
    Pause.objects.create()
    for number in range(7):
        Pause.objects.create(schedule=hourly(f"s{number}"))
    assert told()[1] == "Paused by themselves: s0, s1, s2, s3, s4 and 2 more.\n"
    assert open_pauses() == 7
