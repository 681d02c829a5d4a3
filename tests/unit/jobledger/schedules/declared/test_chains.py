"""Schedules that are declared to start after others."""

from typing import Any

import pytest
from pytest_django import Settings

from jobledger import Schedule
from jobledger.checks.jobs import check_jobs
from jobledger.jobs import registry
from jobledger.models import DeclaredSchedule, NextSlot, Predecessor, SchedulePolicy
from jobledger.schedules.chains import links
from jobledger.schedules.declared import DeclarationError, by_name, problems
from jobledger.schedules.declared.outcomes import Action
from jobledger.schedules.declared.sync import reset, resolve, sync
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.words import described
from tests.unit.builders import override
from tests.unit.jobledger.schedules.builders import NOON, hourly
from tests.unit.jobledger.schedules.chains.builders import follower
from tests.unit.jobledger.schedules.declared.builders import JOB, applied, declare, of_job, stored

pytestmark = pytest.mark.django_db

FIRST = Schedule("0 3 * * *", name="first")


def then(*after: str, **values: Any) -> Schedule:
    return Schedule(after=after or ("first",), name="then", **values)


def predecessors(name: str = "then") -> list[str]:
    return [link.current_name for link in links.predecessors_of(stored(name))]


def test_it_starts_after_the_schedules_that_are_named(settings: Settings) -> None:
    applied(settings, then(), FIRST)
    assert described(stored("then")) == "after first has succeeded"
    row = NextSlot.objects.get(schedule=stored("then"))
    assert (row.broken, row.slot, row.look_at is not None) == ("", None, True)
    assert {each.action for each in of_job(sync())} == {Action.NONE}


def test_a_job_can_name_them_itself(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={JOB: {"after": ("hourly",)}})
    hourly()
    sync()
    assert described(stored()) == "after hourly has succeeded"


def test_it_can_start_whatever_became_of_them(settings: Settings) -> None:
    applied(
        settings, FIRST, Schedule("0 4 * * *", name="second"), then("first", "second", after_failure=True)
    )
    assert described(stored("then")) == "after first and second have ended"


def test_a_change_in_the_code_is_applied_and_another_predecessor_is_counted_from_now(
    settings: Settings,
) -> None:
    second = Schedule("0 4 * * *", name="second")
    applied(settings, FIRST, second, then())
    Predecessor.objects.update(counted_until=NOON)
    [outcome] = [each for each in applied(settings, FIRST, second, then("first", "second")) if each.changes]
    assert [(each.stored, each.code) for each in outcome.changes] == [
        ("after first has succeeded", "after first and second have succeeded")
    ]
    counted = dict(Predecessor.objects.values_list("name", "counted_until"))
    assert counted["first"] == NOON < counted["second"]


def test_it_can_become_a_schedule_with_times_and_back(settings: Settings) -> None:
    applied(settings, FIRST, then())
    applied(settings, FIRST, Schedule("0 5 * * *", name="then"))
    assert (SchedulePolicy.objects.get(schedule=stored("then")).after, predecessors()) == ("", [])
    assert NextSlot.objects.get(schedule=stored("then")).look_at is None
    applied(settings, FIRST, then())
    assert predecessors() == ["first"]


def test_a_renamed_predecessor_is_meant_by_its_name_in_the_code(settings: Settings) -> None:
    applied(settings, FIRST, then())
    first = stored("first")
    first.name = "renamed"
    first.save()
    assert {each.action for each in of_job(sync())} == {Action.NONE}
    stored("then").delete()
    reset("then")
    assert predecessors() == ["renamed"]


def test_what_a_user_has_chosen_in_the_admin_stays(settings: Settings) -> None:
    applied(settings, FIRST, then())
    hourly()
    links.assign(stored("then").pk, ["hourly"], NOON)
    [outcome] = [each for each in of_job(sync()) if each.name == "then"]
    assert [(each.field, each.stored) for each in outcome.edited] == [
        ("timing", "after hourly has succeeded")
    ]
    resolve(DeclaredSchedule.objects.get(name="then").pk, "timing", is_code_right=True)
    assert predecessors() == ["first"]


def test_a_disabled_follower_that_has_run_is_enabled_again_by_the_code(settings: Settings) -> None:
    applied(settings, FIRST, then(enabled=False))
    schedule = stored("then")
    type(schedule).objects.filter(pk=schedule.pk).update(last_run_at=NOON)
    applied(settings, FIRST, then())
    assert stored("then").enabled


def test_an_unknown_predecessor_is_an_error_before_anything_is_changed(settings: Settings) -> None:
    with pytest.raises(DeclarationError, match="after: there is no schedule 'nobody'"):
        applied(settings, FIRST, then("nobody"))
    assert not DeclaredSchedule.objects.exists()


def test_a_predecessor_that_a_user_has_deleted_only_breaks_what_starts_after_it(settings: Settings) -> None:
    applied(settings, FIRST, then())
    stored("first").delete()
    sync()
    assert NextSlot.objects.get(schedule=stored("then")).broken == "after: there is no schedule 'first'"


def test_a_cycle_in_the_code_is_refused_with_its_path(settings: Settings) -> None:
    cycle = [Schedule(after=("b",), name="a"), Schedule(after=("a",), name="b")]
    with pytest.raises(DeclarationError, match="'a' after 'b' after 'a'"):
        applied(settings, *cycle)
    assert "jobledger.W029" in {message.id for message in check_jobs()}


def test_a_cycle_of_code_and_stored_schedules_is_refused_with_its_path(settings: Settings) -> None:
    applied(settings, FIRST)
    follower("first", since=NOON, name="edited")
    with pytest.raises(DeclarationError, match="'edited' after 'first' after 'edited'"):
        applied(settings, Schedule(after=("edited",), name="first"))
    assert described(stored("first")) != "after edited has succeeded"


def test_a_cycle_is_not_made_by_taking_the_codes_value(settings: Settings) -> None:
    applied(settings, FIRST, then())
    record = DeclaredSchedule.objects.get(name="then")
    links.assign(stored("then").pk, ["last"], NOON)
    follower("then", since=NOON, name="last")
    links.assign(stored("then").pk, [], NOON)
    Predecessor.objects.create(follower=stored("first"), schedule=stored("last"), name="last")
    SchedulePolicy.objects.filter(schedule=stored("first")).update(after="success")
    with pytest.raises(RuleError, match="it would start after itself"):
        resolve(record.pk, "timing", is_code_right=True)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Schedule("0 3 * * *", after=("a",)), "exactly one of `cron`, `every`, `at`, `solar` and `after`"),
        (Schedule(after="a"), "'a' is not a tuple of names"),
        (Schedule(after=(1,)), "(1,) is not a tuple of names"),  # type: ignore[arg-type]
        (Schedule("0 3 * * *", after_failure=1), "after_failure is 1; expected True or False"),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_valid_is_said(settings: Settings, schedule: Schedule, text: str) -> None:
    declare(settings, schedule)
    assert any(text in str(each) for each in problems(by_name()[JOB]))


def test_an_invalid_attribute_of_a_job_is_said(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={JOB: {"after": 3}})
    assert registry.all_jobs()[JOB].declaration.after == 3  # type: ignore[comparison-overlap]
    assert any("after is 3" in message.msg for message in check_jobs())
