"""The target is read from the schedule's row, which can contain anything."""

from datetime import timedelta

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.models import NextSlot, Run
from jobledger.schedules.due import ledger, slot_runs
from jobledger.schedules.due.slot_runs import BrokenScheduleError
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

NUL = '{"words": ["a\\u0000b"]}'
NO_NUMBER = '{"level": NaN}'
HALF_A_CHARACTER = '{"words": ["\\ud800"]}'
TOO_DEEP = '{"words": ' + "[" * 2000 + "]" * 2000 + "}"
TOO_LARGE = f'{{"words": ["{"x" * 70_000}"]}}'


def test_a_run_keeps_the_routing_of_its_schedule() -> None:
    hourly("routed", handled_until=NOON - timedelta(minutes=1), queue="slow", exchange="", priority=0)
    hourly("not", handled_until=NOON - timedelta(minutes=1))
    ledger.record_due(NOON)
    routing = dict(Run.objects.values_list("schedule_name", "routing"))
    assert routing == {"routed": {"queue": "slow", "priority": 0}, "not": {}}


def test_a_nul_character_is_made_readable() -> None:
    assert slot_runs.target_of(hourly(kwargs=NUL)).options == {"words": ["a␀b"]}


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("kwargs", NO_NUMBER, "NaN is not valid JSON"),
        ("kwargs", '{"level": -Infinity}', "-Infinity is not valid JSON"),
        ("kwargs", HALF_A_CHARACTER, "a lone surrogate"),
        ("kwargs", TOO_DEEP, "nested more than 50 levels deep"),
        ("kwargs", TOO_LARGE, "more than the 65,536 allowed"),
        ("args", f'["{"x" * 70_000}"]', "more than the 65,536 allowed"),
        ("kwargs", "{", "is not valid JSON"),
        ("kwargs", "[]", "is not an object"),
        ("args", "[NaN]", "NaN is not valid JSON"),
        ("args", "{}", "is not a list"),
    ],
)
def test_a_value_that_cannot_be_stored_breaks_the_schedule(field: str, text: str, reason: str) -> None:
    with pytest.raises(BrokenScheduleError, match=f"^{field}: .*{reason}"):
        slot_runs.target_of(hourly("odd", handled_until=None, **{field: text}))


def test_a_value_that_cannot_be_stored_does_not_affect_other_schedules() -> None:
    stored = {"nul": NUL, "no number": NO_NUMBER, "half": HALF_A_CHARACTER, "deep": TOO_DEEP, "good": "{}"}
    for name, kwargs in stored.items():
        schedule = hourly(name, handled_until=NOON - timedelta(minutes=1))
        # Bypassing everything that would validate it on save.
        PeriodicTask.objects.filter(pk=schedule.pk).update(kwargs=kwargs)
    ledger.record_due(NOON)
    assert {run.schedule_name for run in Run.objects.all()} == {"nul", "good"}
    assert NextSlot.objects.exclude(broken="").count() == 3
