"""A schedule that is brought back gets what it has left behind, and nothing of others of its name."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.admin.schedules.versions import importing
from jobledger.models import Alert, Backfill, BackfillSlot, Run, Status, Trigger
from jobledger.schedules.backfills import backfilling
from jobledger.schedules.backfills.past_slots import Decision, past_slots
from jobledger.schedules.documents.files import JSON, file_text, read
from jobledger.schedules.due import slot_runs
from tests.unit.jobledger.admin.schedules.edit_forms import page_url
from tests.unit.jobledger.admin.schedules.schedules import act
from tests.unit.jobledger.admin.schedules.versions.versions import (
    bring_back,
    deleted,
    edited,
    newest_entry,
    version_url,
)
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db


def slot_run(schedule: PeriodicTask | None, slot: Any, trigger: Trigger, **values: Any) -> Run:
    """A run whose id is not derived from the schedule and the slot."""
    own = {"schedule": schedule, "schedule_name": "mine", "scheduled_for": slot, "trigger": trigger}
    return Run.objects.create(job="probe", **{**own, **values})


def owners(*runs: Run) -> list[int | None]:
    return [Run.objects.get(pk=run.pk).schedule_id for run in runs]


def test_runs_of_backfills_and_those_that_superseded_others_are_its_own_again(admin_client: Client) -> None:
    schedule = hourly("mine")
    superseding = slot_run(schedule, NOON, Trigger.SCHEDULE)
    of_backfills = [slot_run(schedule, NOON, Trigger.BACKFILL) for _ in range(2)]
    again = slot_run(None, NOON, Trigger.ADMIN)
    entry = deleted(admin_client, schedule)
    assert owners(superseding, *of_backfills) == [None] * 3
    bring_back(admin_client, entry, "before")
    assert owners(superseding, *of_backfills, again) == [schedule.pk] * 3 + [None]


def test_each_schedule_of_a_name_gets_back_what_is_its_own(admin_client: Client) -> None:
    first = hourly("mine")
    old = [slot_run(first, NOON, Trigger.SCHEDULE), slot_run(first, NOON, Trigger.BACKFILL)]
    old_backfill = backfill_of(first)
    first_entry = deleted(admin_client, first)
    second = hourly("mine")
    new = [slot_run(second, NOON, Trigger.SCHEDULE), slot_run(second, NOON, Trigger.BACKFILL)]
    new_backfill = backfill_of(second)
    second_entry = deleted(admin_client, second)
    bring_back(admin_client, first_entry, "before")
    assert owners(*old, *new) == [first.pk, first.pk, None, None]
    deleted(admin_client, PeriodicTask.objects.get())
    bring_back(admin_client, second_entry, "before")
    assert owners(*old, *new) == [None, None, second.pk, second.pk]
    known = dict(Backfill.objects.values_list("pk", "schedule"))
    assert known == {old_backfill.pk: None, new_backfill.pk: second.pk}


def backfill_of(schedule: PeriodicTask, **values: Any) -> Backfill:
    own = {"job": "probe", "since": NOON - timedelta(hours=3), "until": NOON, "trigger": Trigger.CLI}
    return Backfill.objects.create(schedule=schedule, schedule_name=schedule.name, **{**own, **values})


def test_its_backfills_and_alerts_are_its_own_again_and_the_rest_of_one_is_said_to_stay_away(
    admin_client: Client,
) -> None:
    schedule = hourly("mine")
    backfill = backfill_of(schedule, look_at=NOON)
    for hours in (2, 1):
        BackfillSlot.objects.create(backfill=backfill, scheduled_for=NOON - timedelta(hours=hours))
    alert = Alert.objects.create(kind="failed", job="probe", schedule=schedule, schedule_name="mine")
    rest = f"The rest of backfill {backfill.pk} of mine"
    assert rest in admin_client.get(page_url("delete", schedule)).text
    asked = act(admin_client, "delete_schedules", schedule)
    assert "their unfinished backfills start no more runs" in asked.text
    entry = deleted(admin_client, schedule)
    backfilling.advance(clock.now())
    page = admin_client.get(version_url(entry, "before")).text
    assert f"The rest of its backfill {backfill.pk}, which ended with it: 2 runs." in page
    bring_back(admin_client, entry, "before")
    backfill.refresh_from_db()
    alert.refresh_from_db()
    assert (backfill.schedule_id, alert.schedule_id) == (schedule.pk, schedule.pk)
    assert backfill.ended_at is not None


def test_a_schedule_that_was_renamed_gets_back_what_it_has_left_behind_under_each_name(
    admin_client: Client,
) -> None:
    schedule = hourly("mine")
    own = slot_run(schedule, NOON, Trigger.SCHEDULE, id=slot_runs.run_id(schedule.pk, NOON))
    later = NOON + timedelta(hours=1)
    others = [slot_run(schedule, later, trigger) for trigger in (Trigger.CHAIN, Trigger.BACKFILL)]
    backfill = backfill_of(schedule)
    alert = Alert.objects.create(kind="failed", job="probe", schedule=schedule, schedule_name="mine")
    edited(admin_client, schedule, name="renamed")
    edited(admin_client, schedule, name="last")
    late = slot_run(schedule, NOON, Trigger.BACKFILL, schedule_name="last")
    bring_back(admin_client, deleted(admin_client, schedule), "before")
    assert owners(own, *others, late) == [schedule.pk] * 4
    backfill.refresh_from_db()
    alert.refresh_from_db()
    assert (backfill.schedule_id, alert.schedule_id) == (schedule.pk, schedule.pk)


def test_what_another_schedule_has_recorded_under_a_former_name_is_not_its_own(admin_client: Client) -> None:
    schedule = hourly("mine")
    edited(admin_client, schedule, name="renamed")
    other = hourly("mine")
    of_other = [slot_run(other, NOON, Trigger.BACKFILL), slot_run(other, NOON, Trigger.SCHEDULE)]
    deleted(admin_client, other)
    bring_back(admin_client, deleted(admin_client, schedule), "before")
    assert owners(*of_other) == [None, None]


def test_the_name_before_it_was_another_schedules_is_not_searched_for(admin_client: Client) -> None:
    other = hourly("mine")
    of_other = slot_run(other, NOON, Trigger.BACKFILL)
    edited(admin_client, other, name="others")
    schedule = hourly("mine")
    deleted(admin_client, other)
    bring_back(admin_client, deleted(admin_client, schedule), "before")
    assert owners(of_other) == [None]


def test_slots_stay_succeeded_though_it_was_renamed_outside_the_admin(admin_client: Client) -> None:
    schedule = hourly("mine")
    slot_run(
        schedule, NOON, Trigger.SCHEDULE, id=slot_runs.run_id(schedule.pk, NOON), status=Status.SUCCEEDED
    )
    PeriodicTask.objects.filter(pk=schedule.pk).update(name="renamed")
    bring_back(admin_client, deleted(admin_client, schedule), "before")
    later = NOON + timedelta(hours=1)
    (slot,) = past_slots(PeriodicTask.objects.get(pk=schedule.pk), NOON, later, now=clock.now()).slots
    assert slot.decision is Decision.SUCCEEDED


def test_an_import_that_deletes_a_renamed_schedule_takes_nothing_from_it(admin_client: Client) -> None:
    schedule = hourly("mine")
    run = slot_run(schedule, NOON, Trigger.BACKFILL)
    edited(admin_client, schedule, name="renamed")
    importing.import_schedules(read(file_text({}, JSON), JSON), user="operator", prune=True)
    assert owners(run) == [None]
    bring_back(admin_client, newest_entry(), "before")
    assert owners(run) == [schedule.pk]


def test_a_version_with_a_former_name_gets_back_the_same(admin_client: Client) -> None:
    schedule = hourly("mine")
    run = slot_run(schedule, NOON, Trigger.BACKFILL, schedule_name="renamed")
    renamed = edited(admin_client, schedule, name="renamed")
    Run.objects.filter(pk=run.pk).update(queued_at=clock.now())
    deleted(admin_client, schedule)
    bring_back(admin_client, renamed, "before")
    assert PeriodicTask.objects.get().name == "mine"
    assert owners(run) == [schedule.pk]
