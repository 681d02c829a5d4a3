"""Command-line values are parsed; errors name the option."""

import uuid
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError

from jobledger.management import arguments
from jobledger.models import DeadLetter, Run, Trigger
from jobledger.runs import dispatch
from tests.unit.builders import NOON
from tests.unit.jobledger.schedules.times import utc

LONDON = ZoneInfo("Europe/London")


def read(text: str) -> str:
    return arguments.time(text, "--from", LONDON).isoformat()


def test_a_time_without_an_offset_is_local_time_in_the_zone() -> None:
    assert read("2026-07-01T12:00") == "2026-07-01T11:00:00+00:00"


@pytest.mark.parametrize("text", ["2026-07-01T12:00Z", "2026-07-01T14:00+02:00", "2026-07-01 12:00:00+00:00"])
def test_a_time_with_an_offset_needs_no_zone(text: str) -> None:
    assert read(text) == "2026-07-01T12:00:00+00:00"


def test_a_day_is_its_midnight() -> None:
    assert read("2026-07-01") == "2026-06-30T23:00:00+00:00"


def test_a_time_that_occurs_twice_means_the_first() -> None:
    assert read("2026-10-25T01:30") == "2026-10-25T00:30:00+00:00"


def test_a_time_that_the_clock_skips_means_the_end_of_the_gap() -> None:
    assert read("2026-03-29T01:30") == "2026-03-29T01:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tomorrow", "is not a time; use a format such as 2026-10-24"),
        ("", "is not a time"),
        ("2026-02-30", "is not a time"),
        ("12:00", "is not a time"),
        ("2026-07-01T12:00+99:00", "is not a time"),
        ("1492-10-12", "is not in the years 1900 to 9998"),
        ("9999-12-31", "is not in the years 1900 to 9998"),
        ("0001-01-01T00:00+12:00", "is out of range"),
    ],
)
def test_what_is_not_a_time_is_an_error_that_names_the_option(text: str, problem: str) -> None:
    with pytest.raises(CommandError, match=rf"^--from: '.*' {problem}") as raised:
        read(text)
    assert raised.value.returncode == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1h30m", timedelta(minutes=90)),
        ("1w2d3h4m5s", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
        ("0s", timedelta(0)),
        ("1 h 30 min", timedelta(minutes=90)),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, expected: timedelta) -> None:
    assert arguments.duration(text, "--for") == expected


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "1.5h", "two hours", "00:10:00"])
def test_what_is_not_a_duration_is_an_error(text: str) -> None:
    with pytest.raises(CommandError, match=r"^--for: '.*' is not a duration; use numbers with"):
        arguments.duration(text, "--for")


@pytest.mark.parametrize("text", ["36526d", "999999999w"])
def test_a_duration_ends_at_a_hundred_years(text: str) -> None:
    with pytest.raises(CommandError, match=r"--for: .* is longer than a hundred years"):
        arguments.duration(text, "--for")


def test_a_period_is_two_times_in_the_zone() -> None:
    assert arguments.period("2026-07-01T12:00/2026-07-01T12:00Z", "--downtime", LONDON) == (
        utc("2026-07-01 11:00"),
        utc("2026-07-01 12:00"),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2026-07-01", "'2026-07-01' is not a period; use FROM/TO"),
        ("2026-07-01/", "'' is not a time"),
        ("/2026-07-01", "'' is not a time"),
        ("2026-07-02/2026-07-01", ".* ends before it starts"),
        ("2026-07-01/2026-07-01", ".* ends before it starts"),
    ],
)
def test_what_is_not_a_period_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(CommandError, match=f"^--downtime: {problem}"):
        arguments.period(text, "--downtime", LONDON)


@pytest.mark.parametrize("name", ["Europe/Lodnon", "Europe", "../etc/passwd", ""])
def test_an_unknown_zone_is_an_error(name: str) -> None:
    with pytest.raises(CommandError, match=r"^--tz: time zone: '.*' is not an IANA time zone") as raised:
        arguments.zone(name, "--tz")
    assert raised.value.returncode == 1


ID = "3f2a1b9c-52d0-4b47-8d2e-0a1b2c3d4e5f"


def made(pk: str = ID) -> Run:
    return Run.objects.create(pk=uuid.UUID(pk), job="probe", trigger=Trigger.CLI)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text", [ID, "3f2a", "3f2a1b9c", "3f2a1b9c-52d", "3F2A1B9C52d0", ID.replace("-", "")]
)
def test_a_run_is_found_by_a_prefix_of_its_id(text: str) -> None:
    made("3f29ffff-ffff-4fff-bfff-ffffffffffff")
    run = made()
    made("3f2b0000-0000-4000-8000-000000000000")
    assert arguments.run(text) == run


@pytest.mark.django_db
@pytest.mark.parametrize("rest", ["0000-0000-0000-0000-000000000000", "ffff-ffff-ffff-ffff-ffffffffffff"])
def test_the_first_and_the_last_id_with_a_prefix_are_found(rest: str) -> None:
    run = made(f"3f2a{rest}")
    assert arguments.run("3f2a") == run


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["4444", "f2a1", "no-such-id", "", "3f2a%", ID + "0"])
def test_an_id_without_a_run_is_an_error(text: str) -> None:
    made()
    with pytest.raises(CommandError, match="There is no run") as raised:
        arguments.run(text)
    assert raised.value.returncode == 1


@pytest.mark.django_db
@pytest.mark.parametrize("text", [ID, "3f2a1", "3F2A1"])
def test_the_id_of_a_message_that_could_not_be_processed_says_so(text: str) -> None:
    reason = "this project has no task with its name"
    DeadLetter.objects.create(task_id=ID, task="probes.porbe", reason=reason, size=1, received_at=NOON)
    with pytest.raises(CommandError) as raised:
        arguments.run(text)
    assert str(raised.value) == (
        f"There is no run {text!r}. A worker could not process its message: it was a message for the task "
        f"“probes.porbe”, received at 2026-03-01 12:00:00 UTC: {reason}."
    )


@pytest.mark.django_db
def test_three_characters_are_too_few() -> None:
    made()
    with pytest.raises(CommandError, match="at least 4 characters"):
        arguments.run("3f2")


@pytest.mark.django_db
def test_an_ambiguous_prefix_is_an_error_that_lists_the_runs() -> None:
    runs = [made(), made("3f2a0000-0000-4000-8000-000000000000")]
    with pytest.raises(CommandError, match="several runs") as raised:
        arguments.run("3f2a")
    assert all(f"{run.pk}  probe  queued" in str(raised.value) for run in runs)


@pytest.mark.django_db
def test_very_many_candidates_are_cut_off() -> None:
    for number in range(20):
        made(f"3f2a0000-0000-4000-8000-0000000000{number:02}")
    with pytest.raises(CommandError) as raised:
        arguments.run("3f2a")
    assert len(str(raised.value).splitlines()) == 12
    assert str(raised.value).endswith("…")


@pytest.mark.django_db
def test_a_run_is_found_by_a_custom_task_id() -> None:
    request = dispatch.RunRequest(job="probe", trigger=Trigger.CELERY)
    run = dispatch.receive("my-own-id", lambda: request)
    assert arguments.run("my-own-id") == run
