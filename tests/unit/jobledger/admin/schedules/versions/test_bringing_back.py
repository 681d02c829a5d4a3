"""Versions of schedules are brought back from the audit log, also deleted ones."""

import json
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.secrets import MASK
from jobledger.models import (
    AlertDestination,
    AlertRule,
    AuditEntry,
    Calendar,
    DeclaredSchedule,
    NextSlot,
    Pause,
    Run,
    ScheduleCalendar,
    SchedulePolicy,
    Trigger,
)
from jobledger.schedules.declared.sync import sync
from jobledger.schedules.due import slot_runs
from tests.unit.jobledger.admin.html_forms import form_in
from tests.unit.jobledger.admin.schedules.edit_forms import add, create_hourly, page_url
from tests.unit.jobledger.admin.schedules.schedules import act, member
from tests.unit.jobledger.admin.schedules.versions.versions import (
    DELETED,
    bring_back,
    deleted,
    edited,
    newest_entry,
    version_url,
)
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

# Earlier versions


def test_an_edit_is_undone_by_bringing_back_the_version_before(admin_client: Client) -> None:
    schedule = create_hourly(description="why")
    entry = edited(
        admin_client,
        schedule,
        times__kind="cron",
        times__cron="0 5 * * *",
        policy__misfire="skip",
        description="",
    )
    page = admin_client.get(version_url(entry, "before")).text
    assert "<ins>every hour</ins>" in page
    assert "<del>skip them</del>" in page
    assert "What does not come back" not in page
    assert bring_back(admin_client, entry, "before").status_code == 302
    stored = PeriodicTask.objects.get()
    assert (stored.interval.every, stored.crontab, stored.description) == (1, None, "why")
    assert stored.policy.misfire == "once"
    assert stored.pk == schedule.pk


def test_bringing_back_is_itself_in_the_audit_log_and_can_be_undone(
    admin_client: Client, admin_user: User
) -> None:
    entry = edited(admin_client, create_hourly(), times__every="2")
    bring_back(admin_client, entry, "before")
    back = newest_entry()
    assert (back.user, back.changes) == (admin_user, [["Timing", "every 2 hours", "every hour"]])
    assert back.before == entry.after
    assert back.after == entry.before
    bring_back(admin_client, back, "before")
    assert PeriodicTask.objects.get().interval.every == 2


def test_the_history_offers_every_version_but_the_current_one(admin_client: Client) -> None:
    schedule = create_hourly()
    first = edited(admin_client, schedule, times__every="2")
    second = edited(admin_client, schedule, times__every="3")
    page = admin_client.get(page_url("history", schedule)).text
    offered = [(first, "before"), (first, "after")]
    known = [(entry, which) for entry in (first, second) for which in ("before", "after")]
    assert [pair for pair in known if version_url(*pair) in page] == offered


def test_enabling_and_disabling_are_versions_too(admin_client: Client) -> None:
    schedule = create_hourly()
    act(admin_client, "disable_tasks", schedule)
    disabled = newest_entry()
    changed = edited(admin_client, schedule, times__every="2")
    act(admin_client, "enable_tasks", schedule)
    enabled = newest_entry()
    assert disabled.after == changed.before == {**(disabled.before or {}), "enabled": False}
    assert enabled.before == changed.after
    bring_back(admin_client, enabled, "before")
    assert not PeriodicTask.objects.get().enabled
    bring_back(admin_client, disabled, "before")
    stored = PeriodicTask.objects.get()
    assert (stored.enabled, stored.interval.every) == (True, 1)


def test_a_version_that_was_changed_outside_the_admin_is_offered_too(admin_client: Client) -> None:
    schedule = create_hourly()
    edited(admin_client, schedule, times__every="2")
    PeriodicTask.objects.update(description="by a script")
    second = edited(admin_client, schedule, times__every="3")
    assert version_url(second, "before") in admin_client.get(page_url("history", schedule)).text
    bring_back(admin_client, second, "before")
    assert PeriodicTask.objects.get().description == "by a script"


def test_an_interval_keeps_counting_from_where_it_does(admin_client: Client) -> None:
    schedule = create_hourly()
    entry = edited(admin_client, schedule, times__every="2")
    SchedulePolicy.objects.update(anchor=NOON)
    bring_back(admin_client, entry, "before")
    assert SchedulePolicy.objects.get().anchor == NOON


def test_a_stored_secret_stays_and_never_becomes_asterisks(admin_client: Client) -> None:
    options = json.dumps({"api_key": "s3cret", "days": 3})
    schedule = create_hourly(task="probes.choosing", kwargs=options, headers='{"auth_token": "t0ken"}')
    SchedulePolicy.objects.update(ping_url="https://hc-ping.com/1")
    entry = edited(admin_client, schedule, option__days="4")
    assert "s3cret" not in str(entry.before) + str(entry.after)
    assert 'type="password"' not in admin_client.get(version_url(entry, "before")).text
    bring_back(admin_client, entry, "before")
    stored = PeriodicTask.objects.get()
    assert json.loads(stored.kwargs) == {"api_key": "s3cret", "days": 3}
    assert json.loads(stored.headers) == {"auth_token": "t0ken"}
    assert stored.policy.ping_url == "https://hc-ping.com/1"


@pytest.mark.parametrize(("entered", "options"), [("n3w", {"api_key": "n3w"}), ("", {})])
def test_a_secret_that_is_gone_is_asked_for(
    admin_client: Client, entered: str, options: dict[str, str]
) -> None:
    schedule = create_hourly(task="probes.choosing", kwargs='{"api_key": "s3cret"}')
    PeriodicTask.objects.filter(pk=schedule.pk).update(description="x")
    entry = edited(admin_client, schedule, option__days="4")
    PeriodicTask.objects.update(kwargs="{}")
    assert ">options.api_key</label>" in admin_client.get(version_url(entry, "before")).text
    response = bring_back(admin_client, entry, "before", **{"secret-0": entered})
    assert response.status_code == 302
    assert json.loads(PeriodicTask.objects.get().kwargs) == options


def test_what_is_not_valid_any_more_is_said_and_nothing_is_changed(admin_client: Client) -> None:
    schedule = create_hourly()
    entry = edited(admin_client, schedule, times__every="2")
    AuditEntry.objects.update(before={**(entry.before or {}), "job": "gone", "options": {"level": 9}})
    url = version_url(entry, "before")
    page = admin_client.get(url).text
    assert "there is no job &#x27;gone&#x27;" in page
    assert ">Bring back</button>" not in page
    assert admin_client.post(url, {"version": "any"}).status_code == 200
    assert PeriodicTask.objects.get().interval.every == 2


def test_a_name_that_another_schedule_has_now_is_said(admin_client: Client) -> None:
    schedule = create_hourly()
    entry = edited(admin_client, schedule, name="new name")
    hourly("mine")
    assert "A schedule with this name already exists." in admin_client.get(version_url(entry, "before")).text


def test_a_single_time_that_has_passed_is_not_enabled_again(admin_client: Client) -> None:
    with time_machine.travel(NOON, tick=False):
        values = {"times__kind": "once", "times__at": "2026-03-02T13:00", "times__zone": "UTC"}
        add(admin_client, **values)
        entry = edited(admin_client, PeriodicTask.objects.get(), times__at="2026-03-03T13:00")
    with time_machine.travel(NOON + timedelta(hours=2), tick=False):
        admin_client.force_login(User.objects.get(username="admin"))
        assert "This time is in the past" in admin_client.get(version_url(entry, "before")).text


def test_another_users_change_in_between_is_not_overwritten(admin_client: Client) -> None:
    schedule = create_hourly()
    entry = edited(admin_client, schedule, times__every="2")
    url = version_url(entry, "before")
    shown = form_in(admin_client.get(url).text, "bring-back").after()
    edited(admin_client, schedule, description="meanwhile")
    response = admin_client.post(url, shown, follow=True)
    assert "Nothing was changed: the schedule has just been changed" in response.text
    assert PeriodicTask.objects.get().interval.every == 2


# Deleted schedules


def test_a_deleted_schedule_comes_back_as_it_was(admin_client: Client, admin_user: User) -> None:
    destination = AlertDestination.objects.create(name="ops", kind="mail", addresses="ops@example.com")
    schedule = hourly("mine", kwargs='{"level": 2}', description="why", queue="slow", enabled=False)
    policy = {"misfire": "all", "catch_up_limit": 7, "jitter": timedelta(minutes=5)}
    SchedulePolicy.objects.filter(schedule=schedule).update(**policy)
    schedule.alert_rules.create(name="urgent", after_failures=3).destinations.add(destination)
    crontab = schedule.crontab
    entry = deleted(admin_client, schedule)
    assert not PeriodicTask.objects.exists()
    assert version_url(entry, "before") in admin_client.get(DELETED).text
    page = admin_client.get(version_url(entry, "before")).text
    assert "<ins>run each of them</ins>" in page
    assert "Its alert rules come back: urgent." in page
    assert "Its pauses." in page
    assert bring_back(admin_client, entry, "before").status_code == 302
    stored = PeriodicTask.objects.select_related("policy").get()
    assert (stored.pk, stored.name, stored.crontab) == (schedule.pk, "mine", crontab)
    assert (stored.kwargs, stored.description, stored.queue) == ('{"level": 2}', "why", "slow")
    assert not stored.enabled
    assert {name: getattr(stored.policy, name) for name in policy} == policy
    rule = AlertRule.objects.get(name="urgent")
    assert (rule.schedule, rule.after_failures, list(rule.destinations.all())) == (stored, 3, [destination])
    assert (newest_entry().verb, newest_entry().user) == ("added", admin_user)
    assert "It is back" in admin_client.get(DELETED).text


def test_its_runs_are_its_own_again_and_its_past_is_not_caught_up(admin_client: Client) -> None:
    schedule = hourly("mine")
    values = {"job": "probe", "trigger": Trigger.SCHEDULE, "schedule_name": "mine", "scheduled_for": NOON}
    own = Run.objects.create(id=slot_runs.run_id(schedule.pk, NOON), schedule=schedule, **values)
    namesake = Run.objects.create(id=slot_runs.run_id(schedule.pk + 1, NOON), **values)
    bring_back(admin_client, deleted(admin_client, schedule), "before")
    own.refresh_from_db()
    namesake.refresh_from_db()
    assert (own.schedule_id, namesake.schedule_id) == (schedule.pk, None)
    assert NextSlot.objects.get().handled_until > NOON


def test_what_it_referred_to_and_is_gone_is_said_and_left_out(admin_client: Client) -> None:
    destination = AlertDestination.objects.create(name="ops", kind="mail", addresses="ops@example.com")
    schedule = hourly("mine")
    schedule.alert_rules.create(name="urgent").destinations.add(destination)
    schedule.alert_rules.create(name="taken")
    Pause.objects.create(schedule=schedule)
    entry = deleted(admin_client, schedule)
    destination.delete()
    AlertRule.objects.create(name="taken")
    page = admin_client.get(version_url(entry, "before")).text
    assert "The alert destination “ops” of its alert rules: it does not exist any more." in page
    assert "Its alert rule “taken”: there is another one of this name." in page
    bring_back(admin_client, entry, "before")
    (rule,) = PeriodicTask.objects.get().alert_rules.all()
    assert (rule.name, list(rule.destinations.all())) == ("urgent", [])


def test_a_deleted_schedules_secrets_are_entered_again(admin_client: Client) -> None:
    schedule = hourly("mine", task="probes.choosing", kwargs='{"api_key": "s3cret", "days": 1}')
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url="https://hc-ping.com/1")
    entry = deleted(admin_client, schedule)
    page = admin_client.get(version_url(entry, "before")).text
    assert [
        label for label in ("options.api_key", "options.days", "ping_url") if f">{label}</label>" in page
    ] == [
        "options.api_key",
        "ping_url",
    ]
    bring_back(admin_client, entry, "before", **{"secret-0": "n3w"})
    stored = PeriodicTask.objects.get()
    assert json.loads(stored.kwargs) == {"api_key": "n3w", "days": 1}
    assert (stored.policy.ping_url, MASK in stored.kwargs) == ("", False)


def test_a_deleted_schedule_follows_its_declaration_again(admin_client: Client) -> None:
    sync()
    schedule = PeriodicTask.objects.get(name="hello")
    entry = deleted(admin_client, schedule)
    sync()
    assert not PeriodicTask.objects.filter(name="hello").exists()
    bring_back(admin_client, entry, "before")
    assert DeclaredSchedule.objects.get(name="hello").schedule_id == schedule.pk


def test_its_calendars_come_back_unless_one_does_not_exist_any_more(admin_client: Client) -> None:
    holidays = Calendar.objects.create(name="holidays", entries="2026-12-25")
    schedule = hourly("mine")
    edited(admin_client, schedule, calendars__not_on="holidays")
    first = deleted(admin_client, schedule)
    bring_back(admin_client, first, "before")
    assert list(ScheduleCalendar.objects.values_list("calendar", "kind")) == [(holidays.pk, "not_on")]
    assert SchedulePolicy.objects.get().calendars
    again = deleted(admin_client, PeriodicTask.objects.get())
    holidays.delete()
    page = admin_client.get(version_url(again, "before")).text
    assert "not_on: There is no calendar “holidays”: add it first." in page
    assert ">Bring back</button>" not in page


def test_it_is_brought_back_once(admin_client: Client) -> None:
    entry = deleted(admin_client, hourly("mine"))
    url = version_url(entry, "before")
    shown = form_in(admin_client.get(url).text, "bring-back").after()
    admin_client.post(url, shown)
    assert "Nothing was changed" in admin_client.post(url, shown, follow=True).text
    assert PeriodicTask.objects.count() == 1


def test_an_option_with_a_nul_is_saved_although_no_audit_log_can_keep_it(admin_client: Client) -> None:
    schedule = create_hourly(kwargs='{"warn": "a\\u0000b"}')
    entry = edited(admin_client, schedule, times__every="2")
    assert (entry.before, entry.after) == (None, None)
    assert version_url(entry, "before") not in admin_client.get(page_url("history", schedule)).text
    assert deleted(admin_client, schedule).before is None


def test_a_schedule_that_was_not_valid_cannot_be_brought_back(admin_client: Client) -> None:
    entry = deleted(admin_client, hourly("mine", kwargs="[1"))
    assert entry.before is None
    assert "The audit log does not have its values." in admin_client.get(DELETED).text
    assert admin_client.get(version_url(entry, "before")).status_code == 404


# Permissions


@pytest.mark.parametrize("group", ["Job viewers", "Job operators"])
def test_bringing_back_needs_permission(admin_client: Client, group: str) -> None:
    schedule = create_hourly()
    entry = edited(admin_client, schedule, times__every="2")
    gone = deleted(admin_client, hourly("gone"))
    client = Client()
    member(client, group)
    assert "Bring" not in client.get(page_url("history", schedule)).text
    for url in (version_url(entry, "before"), version_url(gone, "before")):
        assert client.get(url).status_code == 403
        assert client.post(url).status_code == 403
    assert client.get(DELETED).status_code == 403


def test_an_editor_can_bring_back(admin_client: Client) -> None:
    entry = edited(admin_client, create_hourly(), times__every="2")
    gone = deleted(admin_client, hourly("gone"))
    client = Client()
    member(client, "Schedule editors")
    assert bring_back(client, entry, "before").status_code == 302
    assert bring_back(client, gone, "before").status_code == 302
    assert newest_entry().username == "member"


@pytest.mark.parametrize("which", ["after", "sideways"])
def test_a_version_that_does_not_exist_is_not_found(admin_client: Client, which: str) -> None:
    entry = deleted(admin_client, hourly("gone"))
    assert admin_client.get(version_url(entry, which)).status_code == 404


def test_entries_of_other_objects_are_not_versions_of_schedules(admin_client: Client) -> None:
    entry = AuditEntry.objects.create(
        username="x",
        object_type="jobledger.run",
        object_id="1",
        object_name="x",
        text="x",
        before={"name": "x"},
    )
    assert admin_client.get(version_url(entry, "before")).status_code == 404
