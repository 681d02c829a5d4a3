"""The page of a schedule: adding, editing, previewing and pausing. Only valid values are saved."""

import html
import json
import re
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger import clock
from jobledger.admin import audit_log
from jobledger.admin.recent_runs import WINDOW
from jobledger.models import AuditEntry, NextSlot, OpenForm, Pause, Run, SchedulePolicy, Trigger
from jobledger.schedules import pausing
from jobledger.schedules.due import ledger
from tests.unit.builders import invalid_choice
from tests.unit.jobledger.admin.html_forms import form_in
from tests.unit.jobledger.admin.schedules.edit_forms import (
    ADD,
    LIST,
    NIGHTLY,
    add,
    change_url,
    create_hourly,
    edit,
    edit_form,
    page_url,
)
from tests.unit.jobledger.admin.schedules.schedules import unreadable

pytestmark = pytest.mark.django_db


@pytest.fixture
def every_hour() -> PeriodicTask:
    return create_hourly()


def test_a_schedule_is_added_with_its_job_options_times_and_policy(admin_client: Client) -> None:
    answer = add(admin_client, option__level="2", policy__misfire="skip", policy__jitter="5 min")
    schedule = PeriodicTask.objects.get()
    assert answer.headers["Location"] == LIST
    assert (schedule.name, schedule.task, json.loads(schedule.kwargs)) == (
        "nightly",
        "probes.probe",
        {"level": 2},
    )
    assert (schedule.crontab.minute, schedule.crontab.hour, schedule.crontab.day_of_week) == (
        "30",
        "3",
        "1-5",
    )
    assert str(schedule.crontab.timezone) == "Europe/London"
    policy = SchedulePolicy.objects.get()
    assert (policy.misfire, policy.jitter) == ("skip", timedelta(minutes=5))


def test_a_new_schedule_has_a_next_slot_immediately(admin_client: Client) -> None:
    page = admin_client.post(
        f"{ADD}?job=probe", edit_form(admin_client, f"{ADD}?job=probe").after(**NIGHTLY), follow=True
    )
    slot = NextSlot.objects.get().slot
    assert slot is not None
    assert "Next run: " + slot.strftime("%Y-%m-%d") in page.text


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ""}, "This field is required."),
        ({"times__cron": "30 25 * * *"}, "hour: 25 is not between 0 and 23"),
        ({"times__cron": "30 3 * *"}, "the expression has 4 fields"),
        ({"times__zone": "Europe/Lonndon"}, "is not an IANA time zone"),
        ({"times__kind": "interval", "times__every": ""}, "This field is required."),
        ({"times__kind": "once", "times__at": "2001-01-01T00:00"}, "This time is in the past"),
        ({"times__kind": "once", "times__at": "soon"}, "Enter a valid time"),
        ({"option__level": "9"}, f"argument --level: {invalid_choice(9)}"),
        ({"policy__jitter": "a while"}, "Enter a duration"),
        ({"policy__starting_deadline": "9999999999 00:00:00"}, "Enter a duration"),
        ({"start_time": "0001-01-01T00:00:00+05:00"}, "between 1900 and 9998"),
        ({"times__kind": "once", "times__at": "9999-12-31T23:59"}, "between 1900 and 9998"),
        (
            {"start_time": "2027-01-02T00:00", "expires": "2027-01-01T00:00"},
            "must be later than",
        ),
        ({"headers": "[]"}, "Enter a JSON object"),
        ({"option__words": "x" * 70_000}, "more than the 65,536 allowed"),
        ({"headers": f'{{"x": "{"A" * 70_000}"}}'}, "more than the 65,536 allowed"),
        ({"headers": '{"id": ["x"], "tenant": "a"}'}, "Celery sets id itself"),
        ({"queue": "_kombu.binding.celery"}, "Choose another name"),
        ({"routing_key": "unacked"}, "Choose another name"),
    ],
)
def test_errors_are_shown_and_nothing_is_saved(
    admin_client: Client, changes: dict[str, str], expected: str
) -> None:
    answer = add(admin_client, **changes)
    assert (answer.status_code, PeriodicTask.objects.exists()) == (200, False)
    assert escape(expected) in answer.text
    assert CrontabSchedule.objects.count() == 0


def test_a_duplicate_name_is_rejected(admin_client: Client, every_hour: PeriodicTask) -> None:
    assert "A schedule with this name already exists." in add(admin_client, name=every_hour.name).text
    assert PeriodicTask.objects.count() == 1


def test_input_is_kept_if_there_is_an_error(admin_client: Client) -> None:
    answer = add(admin_client, name="", option__level="3", description="why")
    shown = form_in(answer.text, "edit-form").values
    assert (shown["option-level"], shown["description"]) == (["3"], ["why"])
    assert shown["times-cron"] == ["30 3 * * 1-5"]


def test_saving_an_unchanged_page_changes_nothing(admin_client: Client, every_hour: PeriodicTask) -> None:
    before = PeriodicTask.objects.values().get()
    assert edit(admin_client, every_hour).status_code == 302
    after = PeriodicTask.objects.values().get()
    assert {**after, "date_changed": None} == {**before, "date_changed": None}
    assert (IntervalSchedule.objects.count(), AuditEntry.objects.count()) == (1, 0)


def test_editing_one_schedule_does_not_affect_another(admin_client: Client, every_hour: PeriodicTask) -> None:
    other = PeriodicTask.objects.create(name="other", task="probes.probe", interval=every_hour.interval)
    edit(admin_client, every_hour, times__every="5", times__unit="minutes")
    every_hour.refresh_from_db()
    other.refresh_from_db()
    assert (every_hour.interval.every, other.interval.every) == (5, 1)


def test_timing_models_have_no_admin_pages(admin_client: Client) -> None:
    assert admin_client.get("/admin/django_celery_beat/intervalschedule/").status_code == 404
    assert "crontab" not in admin_client.get("/admin/everything/").text.lower()


def test_every_save_is_in_the_history_with_old_and_new_values(
    admin_client: Client, every_hour: PeriodicTask
) -> None:
    edit(admin_client, every_hour, times__every="5", times__unit="minutes", option__level="3")
    changes = audit_log.changes_of(AuditEntry.objects.get())
    assert [(change.name, change.old, change.new) for change in changes] == [
        ("Option level", "2", "3"),
        ("Timing", "every hour", "every 5 minutes"),
    ]
    history = admin_client.get(page_url("history", every_hour)).text
    assert "<del>every hour</del>" in history
    assert "<ins>every 5 minutes</ins>" in history


def test_adding_a_schedule_is_in_its_history(admin_client: Client) -> None:
    add(admin_client)
    entry = AuditEntry.objects.get()
    history = admin_client.get(page_url("history", PeriodicTask.objects.get())).text
    assert "every weekday at 03:30 Europe/London" in history
    names = [change.name for change in audit_log.changes_of(entry)]
    assert (entry.verb == "added", "Timing" in names, "Job" in names) == (True, True, True)


def test_what_goes_with_a_deleted_schedule_is_listed_in_plain_words(
    admin_client: Client, admin_user: User, every_hour: PeriodicTask
) -> None:
    every_hour.alert_rules.create(name="urgent")
    Pause.objects.create(schedule=every_hour, since=clock.now(), username="ann")
    OpenForm.objects.create(schedule=every_hour, user=admin_user, seen_at=clock.now())
    page = admin_client.get(page_url("delete", every_hour)).text
    items = [html.unescape(each).strip() for each in re.findall(r"<li>([^<]*)", page)]
    counts = {"Schedules: 1", "Alert rules: 1", "Pauses: 1"}
    assert {*counts, "Schedule mine", "Alert rule: urgent"} <= set(items)
    assert [each for each in items if each.startswith("Pause: mine paused")]
    internal = ("Periodic", "Open form", "m/h/d", "Next slot", "olic")
    assert [text for text in internal if text in " ".join(items)] == []


@pytest.mark.parametrize("from_the_list", [True, False])
def test_the_values_of_a_deleted_schedule_are_in_the_audit_log(
    admin_client: Client, every_hour: PeriodicTask, from_the_list: bool
) -> None:
    if from_the_list:
        chosen = {"action": "delete_schedules", "_selected_action": [every_hour.pk]}
        admin_client.post(LIST, {**chosen, "confirmed": "1", "last": every_hour.pk})
    else:
        admin_client.post(page_url("delete", every_hour), {"post": "yes"})
    entry = AuditEntry.objects.get()
    changes = {change.name: (change.old, change.new) for change in audit_log.changes_of(entry)}
    assert not PeriodicTask.objects.exists()
    assert (entry.verb, entry.object_name) == ("deleted", "mine")
    assert (changes["Timing"], changes["Option level"]) == (("every hour", ""), ("2", ""))


def test_an_edit_does_not_start_past_runs(admin_client: Client, every_hour: PeriodicTask) -> None:
    edit(admin_client, every_hour, enabled=None)
    edit(admin_client, every_hour, enabled="on", times__every="1", times__unit="seconds")
    row = NextSlot.objects.get()
    assert row.slot is not None
    assert row.slot > row.handled_until
    assert ledger.record_due(row.handled_until).queued == []
    assert not Run.objects.exists()


def test_the_preview_button_saves_nothing(admin_client: Client, every_hour: PeriodicTask) -> None:
    answer = edit(admin_client, every_hour, times__every="2", _preview="Preview")
    page = answer.text
    assert "Next runs after saving" in page
    assert "Saving starts no run." in page
    every_hour.refresh_from_db()
    assert every_hour.interval.every == 1


def test_the_live_preview_shows_old_and_new_slots(admin_client: Client, every_hour: PeriodicTask) -> None:
    form = edit_form(admin_client, change_url(every_hour))
    page = admin_client.post(page_url("preview", every_hour), form.after(times__every="2")).text
    assert (page.count("removed"), page.count("<li")) == (5, 20)
    assert "new" not in page  # every second hour was a slot before


def test_the_live_preview_shows_the_effects_of_clock_changes(admin_client: Client) -> None:
    form = edit_form(admin_client, ADD)
    page = admin_client.post(
        f"{ADD}preview/", form.after(times__cron="30 1 * * *", times__zone="Europe/London")
    )
    assert "Clock changes in Europe/London" in page.text
    assert "right after the change" in page.text


def test_the_live_preview_explains_expressions_that_may_surprise(admin_client: Client) -> None:
    form = edit_form(admin_client, ADD)
    page = admin_client.post(f"{ADD}preview/", form.after(times__cron="*/45 * * * *", times__zone="UTC"))
    assert "*/45 is not every 45 minutes: it starts over every hour, at 0 and 45." in page.text
    page = admin_client.post(f"{ADD}preview/", form.after(times__cron="*/15 * * * *", times__zone="UTC"))
    assert "preview-surprise" not in page.text


def test_the_live_preview_lists_schedules_that_start_at_the_same_time(
    admin_client: Client, every_hour: PeriodicTask
) -> None:
    slot = NextSlot.objects.get().due_at
    assert slot is not None
    form = edit_form(admin_client, ADD)
    times = {"times__kind": "once", "times__at": slot.strftime("%Y-%m-%dT%H:%M:%S"), "times__zone": "UTC"}
    assert "also starting: mine" in " ".join(
        admin_client.post(f"{ADD}preview/", form.after(**times)).text.split()
    )


def test_the_live_preview_shows_errors_in_the_timing(admin_client: Client) -> None:
    form = edit_form(admin_client, ADD)
    page = admin_client.post(f"{ADD}preview/", form.after(times__cron="61 * * * *")).text
    assert "minute: 61 is not between 0 and 59" in page


def test_selecting_a_job_shows_its_options(admin_client: Client) -> None:
    form = edit_form(admin_client, ADD)
    page = admin_client.post(f"{ADD}target/", form.after(target__job="probe")).text
    assert 'name="option-level"' in page


def test_without_javascript_selecting_a_job_takes_another_step_and_keeps_input(
    admin_client: Client,
) -> None:
    chosen = edit_form(admin_client, ADD).after(**NIGHTLY, target__job="probe", _show="1")
    shown = form_in(admin_client.post(ADD, chosen).text, "edit-form")
    assert "option-level" in shown.choices or "option-level" in shown.values
    admin_client.post(ADD, shown.after(option__level="3"))
    assert json.loads(PeriodicTask.objects.get().kwargs) == {"level": 3}


def test_options_that_the_user_has_not_seen_are_not_saved(admin_client: Client) -> None:
    answer = admin_client.post(ADD, edit_form(admin_client, ADD).after(**NIGHTLY, target__job="probe"))
    assert "Check the options, then save." in answer.text
    assert not PeriodicTask.objects.exists()


def test_the_command_line_is_updated_with_the_input(admin_client: Client) -> None:
    form = edit_form(admin_client, f"{ADD}?job=probe")
    assert (
        "manage.py probe --level 3"
        in admin_client.post(f"{ADD}command_line/", form.after(option__level="3")).text
    )


def test_an_ordinary_task_is_scheduled_with_its_arguments(admin_client: Client) -> None:
    chosen = edit_form(admin_client, ADD).after(**NIGHTLY, target__job=":", _show="1")
    shown = form_in(admin_client.post(ADD, chosen).text, "edit-form")
    task = {"target__task": "tests.probes.tasks.add", "target__args": "[1, 2]", "target__kwargs": "{}"}
    admin_client.post(ADD, shown.after(**task))
    schedule = PeriodicTask.objects.get()
    assert (schedule.task, schedule.args, schedule.kwargs) == ("tests.probes.tasks.add", "[1, 2]", "{}")


def test_a_one_time_schedule_is_in_local_time(admin_client: Client) -> None:
    timing = {"times__kind": "once", "times__at": "2035-07-01T03:00", "times__zone": "Europe/London"}
    add(admin_client, **timing)
    schedule = PeriodicTask.objects.get()
    assert (schedule.clocked.clocked_time.isoformat(), schedule.one_off) == (
        "2035-07-01T02:00:00+00:00",
        True,
    )


def test_a_schedule_is_paused_with_an_end_and_a_reason_and_resumed(
    admin_client: Client, every_hour: PeriodicTask
) -> None:
    pause = {"length": "4h", "reason": "move", "on_resume": "once"}
    page = admin_client.post(page_url("pause", every_hour), pause, follow=True).text
    found = Pause.objects.get()
    assert (found.schedule, found.reason, found.username, found.on_resume) == (
        every_hour,
        "move",
        "admin",
        "once",
    )
    assert found.until is not None
    assert timedelta(minutes=239) < found.until - timezone.now() <= timedelta(hours=4)
    until = f"{found.until:%Y-%m-%d %H:%M:%S} UTC"
    assert re.search(rf"by admin until {until} \(in \d+ [a-z]+\): move", page)
    admin_client.post(page_url("resume", every_hour))
    assert not pausing.active_pauses(every_hour, timezone.now()).exists()
    assert [entry.text.split()[0] for entry in AuditEntry.objects.order_by("pk")] == [
        "Paused",
        "Resumed.",
    ]


@pytest.mark.parametrize(
    "pause",
    [
        {"length": "until", "until": "2001-01-01T00:00", "on_resume": "once"},
        {"length": "never", "on_resume": "once"},
    ],
)
def test_a_pause_with_an_invalid_end_is_rejected(
    admin_client: Client, every_hour: PeriodicTask, pause: dict[str, str]
) -> None:
    page = admin_client.post(page_url("pause", every_hour), pause)
    assert (page.status_code, Pause.objects.exists()) == (200, False)
    assert "errorlist" in page.text


@pytest.mark.parametrize(
    "time",
    [
        # An hour that the clock repeats, whose offset the browser's input does not have.
        "2026-10-25T00:30:00+00:00",
        "2026-10-25T01:30:00+00:00",
        "2026-03-01T12:00:00.250000+00:00",
    ],
)
def test_a_time_that_is_not_edited_stays_what_it_is(
    admin_client: Client, every_hour: PeriodicTask, time: str
) -> None:
    start = datetime.fromisoformat(time)
    PeriodicTask.objects.update(start_time=start, expires=start + timedelta(days=400))
    with timezone.override("Europe/London"):
        assert edit(admin_client, every_hour, description="edited").status_code == 302
    every_hour.refresh_from_db()
    assert (every_hour.description, every_hour.start_time) == ("edited", start)
    assert every_hour.expires == start + timedelta(days=400)


def test_beside_an_invalid_pause_the_schedule_can_be_edited(
    admin_client: Client, every_hour: PeriodicTask
) -> None:
    url = page_url("pause", every_hour)
    shown = admin_client.post(url, {"length": "until", "until": "", "on_resume": "skip"}).text
    action = re.search(r'<form id="edit-form"[^>]* action="([^"]*)"', shown)
    posted = form_in(shown, "edit-form").after(description="edited")
    assert admin_client.post(action[1] if action else url, posted).status_code == 302
    every_hour.refresh_from_db()
    assert every_hour.description == "edited"


def test_resuming_a_schedule_that_is_not_paused_is_reported(
    admin_client: Client, every_hour: PeriodicTask
) -> None:
    assert (
        "The schedule was not paused." in admin_client.post(page_url("resume", every_hour), follow=True).text
    )


def test_a_broken_schedule_can_be_opened_and_fixed(admin_client: Client) -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="25")
    broken = PeriodicTask.objects.create(name="mine", task="probes.probe", crontab=crontab, kwargs="{")
    page = admin_client.get(change_url(broken)).text
    assert "timing is not valid" in page
    assert edit(admin_client, broken, times__cron="0 5 * * *").status_code == 302
    assert NextSlot.objects.get().broken == ""


def test_a_schedule_of_a_job_that_no_longer_exists_can_be_opened(
    admin_client: Client, every_hour: PeriodicTask
) -> None:
    PeriodicTask.objects.update(task="probes.gone")
    assert "probes.gone" in admin_client.get(change_url(every_hour)).text
    assert "there is no job or task" in edit(admin_client, every_hour).text


def test_the_history_is_paginated_newest_first(
    admin_client: Client, admin_user: User, every_hour: PeriodicTask
) -> None:
    for number in range(52):
        audit_log.log_action(admin_user, [every_hour], f"Note {number}.")
    first = admin_client.get(page_url("history", every_hour)).text
    second = admin_client.get(f"{page_url('history', every_hour)}?p=2").text
    assert first.index("Note 51.") < first.index("Note 50.") < first.index("Note 2.")
    assert "Note 1." in second
    assert "Note 1." not in first


def test_an_empty_history_explains_its_purpose(admin_client: Client, every_hour: PeriodicTask) -> None:
    assert (
        "No changes have been made in the admin yet."
        in admin_client.get(page_url("history", every_hour)).text
    )


@pytest.mark.parametrize("query", ["job=probe", "task=probes.probe"])
def test_a_link_can_preselect_the_job(admin_client: Client, query: str) -> None:
    assert edit_form(admin_client, f"{ADD}?{query}").values["target-job"] == ["probe"]


def test_a_link_with_an_unknown_job_preselects_none(admin_client: Client) -> None:
    assert edit_form(admin_client, f"{ADD}?job=gone").values["target-job"] == [""]


def test_invalid_timing_can_be_replaced(admin_client: Client, every_hour: PeriodicTask) -> None:
    unreadable(every_hour)
    PeriodicTask.objects.update(interval=None)
    assert "timing is not valid" in admin_client.get(change_url(every_hour)).text
    times = {"times__kind": "cron", "times__cron": "0 5 * * *", "times__zone": "UTC"}
    assert edit(admin_client, every_hour, **times).status_code == 302
    assert NextSlot.objects.get().broken == ""


@pytest.mark.parametrize("seen", ["9" * 5000, "x", ""])
def test_an_invalid_last_seen_entry_is_ignored(
    admin_client: Client, every_hour: PeriodicTask, seen: str
) -> None:
    opened = edit_form(admin_client, change_url(every_hour)).after(seen=seen, times__every="2")
    PeriodicTask.objects.update(description="faster")
    assert (
        "This schedule was changed while you were editing it."
        in admin_client.post(change_url(every_hour), opened).text
    )


@pytest.mark.parametrize("number", ["9" * 5000, "x", "٣"])
def test_an_invalid_schedule_id_is_not_found(admin_client: Client, number: str) -> None:
    assert admin_client.get(f"{LIST}{number}/change/").status_code == 404


@pytest.mark.parametrize(("name", "most"), [("target", 3), ("command_line", 3), ("preview", 10)])
def test_live_updates_take_few_queries(
    admin_client: Client,
    every_hour: PeriodicTask,
    name: str,
    most: int,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    typed = edit_form(admin_client, change_url(every_hour)).after(times__every="2")
    with django_assert_max_num_queries(most):
        admin_client.post(page_url(name, every_hour), typed)


def test_the_page_takes_few_queries_however_many_others_are_due(
    admin_client: Client, every_hour: PeriodicTask, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for minutes in (1, 60, 120, 180):
        interval = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.HOURS)
        other = PeriodicTask.objects.create(name=f"in {minutes}", task="probes.probe", interval=interval)
        due_at = NextSlot.objects.get(pk=every_hour.pk).due_at
        assert due_at is not None
        NextSlot.objects.filter(pk=other.pk).update(due_at=due_at + timedelta(minutes=minutes - 60))
    Pause.objects.create()
    for minutes in range(WINDOW + 5):
        queued_at = timezone.now() - timedelta(minutes=minutes)
        Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, schedule=every_hour, queued_at=queued_at)
    admin_client.get(change_url(every_hour))
    with django_assert_max_num_queries(12):
        page = admin_client.get(change_url(every_hour)).text
    assert "in 60" in page
    assert f"Last {WINDOW} runs" in page


@pytest.mark.parametrize(("action", "is_paused"), [("pause", False), ("resume", True)])
def test_pausing_and_resuming_fail_if_they_cannot_be_logged(
    admin_client: Client,
    every_hour: PeriodicTask,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    is_paused: bool,
) -> None:
    pause = {"length": "4h", "on_resume": "once"}
    if is_paused:
        admin_client.post(page_url("pause", every_hour), pause)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(audit_log, "log_action", fail)
    with pytest.raises(OSError, match="disk full"):
        admin_client.post(page_url(action, every_hour), pause)
    assert pausing.active_pauses(every_hour, timezone.now()).exists() == is_paused
