"""The forms of a schedule: validation, and errors next to their fields."""

import json
import sys
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.editing.forms import DetailsForm, TimesForm
from jobledger.jobs.secrets import MASK
from jobledger.models import Dialect
from jobledger.schedules.rules.interval import Interval
from jobledger.schedules.stored_times import (
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
)
from tests.unit.jobledger.schedules.builders import NOON
from tests.unit.jobledger.schedules.times import utc

LONDON = ZoneInfo("Europe/London")


def submit(stored: StoredTimes | None = None, **values: Any) -> TimesForm:
    """The form for the stored timing, submitted with these changes."""
    shown = TimesForm(stored=stored, anchor=NOON, now=NOON)
    data = {f"times-{name}": shown[name].value() for name in shown.fields}
    data |= {f"times-{name}": value for name, value in values.items()}
    return TimesForm(
        {name: value for name, value in data.items() if value is not None},
        stored=stored,
        anchor=NOON,
        now=NOON,
    )


@pytest.mark.parametrize(
    "stored",
    [
        CronTimes(expression="30 3 * * 1-5", zone=LONDON),
        CronTimes(expression="30 3 1-7 * 1", zone=LONDON, dialect=Dialect.CELERY),
        IntervalTimes(every=5, period="minutes"),
        IntervalTimes(every=2_000_000, period="microseconds"),
        ClockedTimes(at=utc("2026-12-01T03:00:00.5")),
        ClockedTimes(at=utc("2001-01-01")),
        SolarTimes(event="sunset", latitude=Decimal("51.5"), longitude=Decimal("-0.1")),
    ],
)
def test_submitting_an_unchanged_form_keeps_the_timing(stored: StoredTimes) -> None:
    form = submit(stored)
    assert form.is_valid(), form.errors
    assert form.times == stored


def test_the_second_occurrence_of_a_repeated_time_is_kept(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/London"
    stored = ClockedTimes(at=utc("2026-10-25T01:30"))
    form = submit(stored)
    assert form.is_valid()
    assert form.times == stored


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"cron": "30 25 * * *", "zone": "UTC"}, "cron", "hour: 25 is not between 0 and 23"),
        ({"cron": "@reboot", "zone": "UTC"}, "cron", "is not a time"),
        ({"cron": "", "zone": "UTC"}, "cron", "required"),
        ({"cron": "* * * * *", "zone": "Mars"}, "zone", "'Mars' is not an IANA time zone"),
        ({"kind": "interval", "every": "0"}, "every", "greater than or equal to 1"),
        ({"kind": "interval", "every": "9" * 15, "unit": "days"}, "every", "less than or equal to"),
        ({"kind": "interval", "every": "1", "unit": "years"}, "unit", "not one of the available choices"),
        ({"kind": "once", "at": "", "zone": "UTC"}, "at", "required"),
        ({"kind": "once", "at": "2026-03-02T12:00", "zone": "UTC"}, "at", "is in the past"),
        (
            {"kind": "once", "at": "2026-03-29T01:30", "zone": "Europe/London"},
            "at",
            "does not exist in Europe/London",
        ),
        ({"kind": "never"}, "kind", "not one of the available choices"),
        ({"kind": "sun", "latitude": "51", "longitude": "0"}, "event", "required"),
    ],
)
def test_an_error_is_shown_next_to_its_field(values: dict[str, Any], field: str, expected: str) -> None:
    form = submit(**values)
    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert expected in " ".join(map(str, form.errors[field]))
    assert form.rule is None


def test_fields_of_other_kinds_are_ignored() -> None:
    form = submit(kind="interval", every="5", unit="hours", cron="61 * * * *", zone="Mars", latitude="x")
    assert form.is_valid(), form.errors
    assert form.times == IntervalTimes(every=5, period="hours")


def test_an_interval_counts_from_its_anchor() -> None:
    form = submit(kind="interval", every="5", unit="hours")
    assert form.is_valid()
    assert isinstance(form.rule, Interval)
    assert form.rule.anchor == NOON


@pytest.mark.parametrize("text", ["2026-07-01T03:00", "2026-07-01 03:00:00", "2026-07-01T03:00+01:00"])
def test_a_time_is_local_to_its_time_zone(text: str) -> None:
    form = submit(kind="once", at=text, zone="Europe/London")
    assert form.is_valid()
    assert form.times == ClockedTimes(at=utc("2026-07-01T02:00"))


def test_a_place_where_the_event_never_occurs_is_rejected() -> None:
    pole = SolarTimes(event="sunset", latitude=Decimal(51), longitude=Decimal(0))
    form = submit(pole, latitude="90")
    assert not form.is_valid()
    assert "never occurs" in " ".join(map(str, form.errors["event"]))


SUNSET = SolarTimes(event="sunset", latitude=Decimal(51), longitude=Decimal(0))


def test_solar_events_are_offered_if_ephem_is_installed() -> None:
    form = submit(kind="sun", event="sunset", latitude="51", longitude="0")
    assert form.is_valid(), form.errors
    assert form.times == SUNSET


def test_without_ephem_solar_events_are_offered_only_to_schedules_that_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ephem", None)
    assert (submit(SUNSET).has_sun, submit().has_sun) == (True, False)
    assert list(submit(kind="sun").errors) == ["kind"]
    form = submit(SUNSET)
    assert not form.is_valid()
    assert "install django-jobledger[solar]" in " ".join(map(str, form.errors["event"]))


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["a\nb", "a\x1b]0;b\x07", "a\u202eb"])
def test_control_characters_in_names_are_rejected(name: str) -> None:
    form = DetailsForm({"name": name}, instance=PeriodicTask())
    assert "A name must not contain line breaks" in str(form.errors["name"])


# Message headers

HEADERS = '{"Authorization": "Bearer s3cret", "x": 1}'


def with_headers(stored: str, posted: str | None = None) -> DetailsForm:
    schedule = PeriodicTask(name="mine", headers=stored)
    return DetailsForm(posted and {"name": "mine", "headers": posted}, instance=schedule)


@pytest.mark.django_db
def test_secret_headers_are_masked_and_kept_if_unchanged() -> None:
    shown = with_headers(HEADERS)["headers"].value()
    assert json.loads(shown) == {"Authorization": MASK, "x": 1}
    form = with_headers(HEADERS, shown.replace("1", "2"))
    assert form.is_valid(), form.errors
    assert json.loads(form.cleaned_data["headers"]) == {"Authorization": "Bearer s3cret", "x": 2}


@pytest.mark.django_db
def test_unchanged_headers_keep_their_formatting() -> None:
    form = with_headers('{"x":  1}', '{"x": 1}')
    assert form.is_valid()
    assert form.cleaned_data["headers"] == '{"x":  1}'


@pytest.mark.django_db
@pytest.mark.parametrize("posted", ['{"other": "********"}', '["********"]', "********"])
def test_a_mask_is_only_valid_for_its_own_header(posted: str) -> None:
    assert "headers" in with_headers(HEADERS, posted).errors


def test_a_form_without_the_dialect_keeps_it() -> None:
    stored = CronTimes(expression="30 3 1-7 * 1", zone=LONDON, dialect=Dialect.CELERY)
    form = submit(stored, dialect="")
    assert form.is_valid(), form.errors
    assert form.times == stored


def test_an_expression_that_celery_does_not_accept_is_an_error() -> None:
    form = submit(CronTimes(expression="30 3 * * 1", zone=LONDON, dialect=Dialect.CELERY), cron="30 3 * * 7")
    assert "Celery does not accept '7'" in form.errors["cron"][0]
