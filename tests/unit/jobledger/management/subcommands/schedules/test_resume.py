"""``jobledger resume`` ends pauses, and prints what is still paused."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from jobledger.models import AuditEntry, Pause
from jobledger.schedules.audit import command_line_user
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = pytest.mark.django_db

BUT = "The whole service is still paused; `manage.py jobledger resume` without a name resumes it."


def told(*line: str) -> tuple[str, str]:
    """What it prints on stdout and on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "resume", *line, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def open_pauses() -> int:
    return Pause.objects.active_at(timezone.now()).count()


def test_a_schedules_pauses_are_ended_and_counted() -> None:
    schedule = hourly()
    Pause.objects.create(schedule=schedule)
    assert told("hourly") == ("Resumed hourly: ended 1 pause.\n", "")
    Pause.objects.bulk_create(Pause(schedule=schedule) for _ in range(2))
    assert told("hourly") == ("Resumed hourly: ended 2 pauses.\n", "")
    assert (open_pauses(), Pause.objects.count()) == (0, 3)


def test_without_a_name_the_whole_service_is_resumed() -> None:
    Pause.objects.create()
    assert told() == ("Resumed the whole service: ended 1 pause.\n", "")
    assert open_pauses() == 0


def test_resuming_what_is_not_paused_is_an_error() -> None:
    hourly()
    for line in ["hourly"], []:
        with pytest.raises(CommandError, match=r" is not paused\.$") as raised:
            told(*line)
        assert raised.value.returncode == 1


def test_an_unknown_schedule_is_an_error() -> None:
    with pytest.raises(CommandError, match=r"^There is no schedule 'x'\.$"):
        told("x")


def test_resuming_a_schedule_warns_of_a_paused_service() -> None:
    Pause.objects.create(schedule=hourly())
    Pause.objects.create()
    assert told("hourly") == ("Resumed hourly: ended 1 pause.\n", f"{BUT}\n")


def test_resuming_a_schedule_paused_only_by_the_service_is_an_error_that_says_so() -> None:
    hourly()
    Pause.objects.create()
    with pytest.raises(CommandError) as raised:
        told("hourly")
    assert str(raised.value) == f"hourly is not paused. {BUT}"
    assert open_pauses() == 1


def test_resuming_the_service_lists_schedules_that_are_still_paused() -> None:
    Pause.objects.create()
    for number in range(7):
        Pause.objects.create(schedule=hourly(f"s{number}"))
    assert told()[1] == "Schedules that are still paused: s0, s1, s2, s3, s4 and 2 more.\n"
    assert open_pauses() == 7


def test_resuming_is_in_the_audit_log_and_failing_to_is_not() -> None:
    schedule = hourly()
    Pause.objects.create(schedule=schedule)
    Pause.objects.create()
    told("hourly")
    told()
    with pytest.raises(CommandError):
        told()
    entries = list(AuditEntry.objects.order_by("pk"))
    assert [each.text for each in entries] == ["Resumed.", "Resumed the whole service."]
    assert (entries[0].object_id, entries[0].username) == (str(schedule.pk), command_line_user())
