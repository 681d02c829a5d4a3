"""The actions of the list: run now, pause, resume, enable, disable; permissions and audit log."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log, rights
from jobledger.jobs.secrets import MASK
from jobledger.models import NextSlot, Pause, Run, SchedulePolicy, Trigger
from jobledger.schedules.adoption import stock
from jobledger.schedules.documents.files import JSON, read
from tests.unit.jobledger.admin.schedules.schedules import LIST, act, member, page, unreadable
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by

pytestmark = pytest.mark.django_db

ACTIONS = ("run_tasks", "pause_schedules", "resume_schedules", "enable_tasks", "disable_tasks")
HOUR = timedelta(hours=1)
TERMS = {"confirmed": "1", "length": "4h", "reason": "move", "on_resume": "once"}


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


def entries(schedule: PeriodicTask) -> list[str]:
    return [entry.text for entry in audit_log.entries_of(schedule).reverse()]


def test_run_now_records_the_user(admin_client: Client, admin_user: User) -> None:
    schedule = hourly(kwargs='{"level": 3}', queue="slow")
    answer = act(admin_client, "run_tasks", schedule)
    run = Run.objects.get()
    assert (run.job, run.options, run.trigger, run.username) == (
        "probe",
        {"level": 3},
        Trigger.ADMIN,
        "admin",
    )
    assert (run.user, run.schedule, run.scheduled_for) == (admin_user, schedule, None)
    assert run.routing == {"queue": "slow"}
    assert reverse("admin:jobledger_run_change", args=[run.pk]) in answer.text
    assert entries(schedule) == [f"Run now: run {run.pk}."]


def test_run_now_gives_the_run_the_schedules_time_limit(admin_client: Client) -> None:
    schedule = hourly("limited")
    SchedulePolicy.objects.update(time_limit=HOUR, time_limit_grace=timedelta(0))
    act(admin_client, "run_tasks", schedule)
    run = Run.objects.get()
    assert (run.time_limit, run.time_limit_grace) == (HOUR, timedelta(0))


def test_run_now_ignores_disabled_and_paused(admin_client: Client) -> None:
    Pause.objects.create(schedule=hourly("paused"), since=NOON)
    act(admin_client, "run_tasks", hourly("off", enabled=False), PeriodicTask.objects.get(name="paused"))
    assert Run.objects.count() == 2


def test_an_ordinary_task_is_also_started_with_a_run(admin_client: Client) -> None:
    act(admin_client, "run_tasks", hourly(task="tests.probes.tasks.add", args="[1, 2]"))
    run = Run.objects.get()
    assert (run.job, run.args) == ("tests.probes.tasks.add", [1, 2])


def test_schedules_of_forbidden_jobs_are_reported_and_skipped(client: Client) -> None:
    user = member(client, "Job viewers")
    user.user_permissions.add(Permission.objects.get(codename="start_job_probe"))
    allowed, forbidden = hourly("allowed"), hourly("forbidden", task="probes.trace")
    answer = act(client, "run_tasks", allowed, forbidden)
    assert "you do not have permission to run their jobs: forbidden." in answer.text
    assert [run.schedule for run in Run.objects.all()] == [allowed]
    assert entries(forbidden) == []


def test_broken_schedules_are_reported_and_skipped(admin_client: Client) -> None:
    answer = act(admin_client, "run_tasks", hourly("odd", kwargs="[1]"), hourly("good"))
    assert "Not started because they are broken: odd." in answer.text
    assert [run.schedule_name for run in Run.objects.all()] == ["good"]


def test_running_many_schedules_requires_confirmation(admin_client: Client) -> None:
    schedules = [hourly(f"number {number:02}") for number in range(11)]
    answer = act(admin_client, "run_tasks", *schedules)
    assert "Run 11 schedules now" in answer.text
    assert "and 1 more" in answer.text
    assert not Run.objects.exists()
    act(admin_client, "run_tasks", *schedules, confirmed="1")
    assert Run.objects.count() == 11


def test_running_too_many_schedules_starts_none(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobledger.admin.schedules.actions.MAX_STARTED", 1)
    answer = act(admin_client, "run_tasks", hourly("one"), hourly("two"), confirmed="1")
    assert (
        "Nothing was started: 2 schedules are selected, but at most 1 can be started at once." in answer.text
    )
    assert not Run.objects.exists()


def test_pausing_requires_confirmation(admin_client: Client) -> None:
    schedule = hourly()
    answer = act(admin_client, "pause_schedules", schedule)
    assert "Duration" in answer.text
    assert f'name="_selected_action" value="{schedule.pk}"' in answer.text
    assert not Pause.objects.exists()


def test_schedules_are_paused_on_the_submitted_terms(admin_client: Client, admin_user: User) -> None:
    schedule, other = hourly("mine"), hourly("other")
    answer = act(admin_client, "pause_schedules", schedule, **TERMS)
    pause = Pause.objects.get()
    assert (pause.schedule, pause.since, pause.until) == (schedule, NOON, NOON + 4 * HOUR)
    assert (pause.reason, pause.username, pause.user, pause.on_resume) == (
        "move",
        "admin",
        admin_user,
        "once",
    )
    assert "Paused: mine." in answer.text
    assert entries(schedule) == ["Paused until 2026-03-02 16:00:00 UTC: move."]
    assert entries(other) == []


def test_invalid_terms_are_reported_and_nothing_is_paused(admin_client: Client) -> None:
    answer = act(admin_client, "pause_schedules", hourly(), **{**TERMS, "length": "until"})
    assert "Enter a time." in answer.text
    assert not Pause.objects.exists()


def test_all_matching_schedules_are_paused_without_listing_their_ids(admin_client: Client) -> None:
    schedules = [hourly(f"clean {number}") for number in range(3)]
    hourly("other")
    url = f"{reverse(LIST)}?q=clean"
    form = {"action": "pause_schedules", "select_across": "1", "_selected_action": [schedules[0].pk]}
    asked = admin_client.post(url, form)
    assert asked.text.count('name="_selected_action"') == 1
    assert 'name="select_across" value="1"' in asked.text
    admin_client.post(url, {**form, **TERMS})
    assert {pause.schedule for pause in Pause.objects.all()} == set(schedules)


def test_schedules_are_resumed(admin_client: Client) -> None:
    paused, other = hourly("paused"), hourly("other")
    Pause.objects.create(schedule=paused, since=NOON - HOUR)
    answer = act(admin_client, "resume_schedules", paused, other)
    assert Pause.objects.get().until == NOON
    assert "Resumed: paused." in answer.text
    assert (entries(paused), entries(other)) == (["Resumed."], [])


def test_resuming_reports_that_the_service_is_still_paused(admin_client: Client) -> None:
    Pause.objects.create(since=NOON - HOUR)
    answer = act(admin_client, "resume_schedules", hourly())
    assert "None of these schedules is paused individually." in answer.text
    assert "The whole service is still paused" in answer.text


def test_a_disabled_schedule_has_no_next_slot(admin_client: Client) -> None:
    schedule, off = hourly("mine"), hourly("off", enabled=False)
    answer = act(admin_client, "disable_tasks", schedule, off)
    schedule.refresh_from_db()
    assert not schedule.enabled
    assert not NextSlot.objects.exists()
    assert "Disabled: mine." in answer.text
    assert (entries(schedule), entries(off)) == (["Disabled."], [])


def test_enabling_does_not_start_past_runs(admin_client: Client) -> None:
    schedule = hourly(enabled=False, last_run_at=NOON - 5 * HOUR)
    act(admin_client, "enable_tasks", schedule)
    assert NextSlot.objects.get().slot == NOON + HOUR
    assert not Run.objects.exists()
    assert entries(schedule) == ["Enabled."]


def test_disabling_a_disabled_schedule_is_reported(admin_client: Client) -> None:
    schedule = hourly(enabled=False)
    assert "Already disabled." in act(admin_client, "disable_tasks", schedule).text
    assert entries(schedule) == []


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_apply_to_schedules_with_invalid_timing(admin_client: Client, action: str) -> None:
    schedule = unreadable(hourly())
    assert act(admin_client, action, schedule, **TERMS).status_code == 200


@pytest.mark.parametrize("action", [*ACTIONS, "delete_selected", "delete_schedules"])
def test_a_viewer_has_no_actions(client: Client, action: str) -> None:
    member(client, "Job viewers")
    schedule = hourly()
    text = page(client)
    assert f'value="{action}"' not in text
    assert "action-select" not in text
    assert act(client, action, schedule, **TERMS).status_code == 403
    assert (Run.objects.count(), Pause.objects.count(), entries(schedule)) == (0, 0, [])


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("run_tasks", "start_run"),
        ("pause_schedules", "pause_schedule"),
        ("resume_schedules", "pause_schedule"),
        ("enable_tasks", "change_periodictask"),
        ("disable_tasks", "change_periodictask"),
    ],
)
def test_each_action_requires_its_own_permission(client: Client, action: str, permission: str) -> None:
    user, schedule = member(client, "Job viewers"), hourly()
    others = {"start_run", "pause_schedule", "change_periodictask"} - {permission}
    user.user_permissions.set(Permission.objects.filter(codename__in=others))
    assert act(client, action, schedule, **TERMS).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename=permission))
    assert act(client, action, schedule, **TERMS).status_code == 200
    assert f'value="{action}"' in page(client)


def test_a_get_request_does_nothing(admin_client: Client) -> None:
    schedule = hourly()
    page(admin_client, action="run_tasks", _selected_action=str(schedule.pk))
    assert not Run.objects.exists()


def test_actions_are_protected_against_cross_site_requests(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert act(client, "run_tasks", hourly()).status_code == 403
    assert not Run.objects.exists()


def test_the_buttons_submit_the_action_names_that_django_expects(admin_client: Client) -> None:
    schedule = hourly()
    context: Any = admin_client.get(reverse(LIST)).context
    choices = [value for value, _words in context["action_form"].fields["action"].choices if value]
    form = {"action": choices, "index": choices.index("disable_tasks"), "_selected_action": [schedule.pk]}
    admin_client.post(reverse(LIST), form)
    schedule.refresh_from_db()
    assert not schedule.enabled


def test_delete_is_the_last_action(admin_client: Client) -> None:
    hourly()
    text = page(admin_client)
    assert text.index("Disable") < text.index("Delete…")


def test_the_actions_require_existing_permissions() -> None:
    assert (rights.START, rights.PAUSE) == ("jobledger.start_run", "jobledger.pause_schedule")


def test_enabling_makes_the_stock_scheduler_start_nothing_from_before_either(admin_client: Client) -> None:
    schedule = hourly(enabled=False)
    PeriodicTask.objects.update(last_run_at=NOON - 5 * HOUR, date_changed=NOON - 5 * HOUR)
    act(admin_client, "enable_tasks", schedule)
    assert stock.next_starts(PeriodicTask.objects.get(), NOON + timedelta(minutes=5), 1) == [NOON + HOUR]


def test_selected_schedules_are_exported_with_secrets_masked(client: Client) -> None:
    mine = hourly("mine", task="probes.choosing", kwargs='{"api_key": "s3cret"}')
    broken = hourly("broken", kwargs="[")
    hourly("not selected")
    member(client, "Schedule editors")
    form = {"action": "export_schedules", "_selected_action": [mine.pk, broken.pk]}
    answer = client.post(reverse(LIST), form)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="schedules.json"'
    assert read(answer.text, JSON).documents == {
        "mine": {"job": "choosing", "options": {"api_key": MASK}, "cron": "0 * * * *", "timezone": "UTC"}
    }
    assert "“broken” was not exported: its kwargs are not a valid JSON object." in page(client)


def test_selected_schedules_are_exported_with_the_calendars_that_they_use(admin_client: Client) -> None:
    mine = limited_by(hourly("mine"), "sun")
    limited_by(hourly("not selected"), "sat")
    form = {"action": "export_schedules", "_selected_action": [mine.pk]}
    assert read(admin_client.post(reverse(LIST), form).text, JSON).calendars == {
        "closed mine": {"entries": ["sun"]}
    }
