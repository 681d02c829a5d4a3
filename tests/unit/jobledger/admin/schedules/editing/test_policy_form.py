"""The policy's form, with the limits of the job as placeholders for those of the schedule."""

import re
from datetime import timedelta

import pytest
from django.test import Client

from jobledger.models import AuditEntry, SchedulePolicy
from tests.unit.jobledger.admin.html_forms import form_in
from tests.unit.jobledger.admin.schedules.edit_forms import (
    ADD,
    add,
    change_url,
    create_hourly,
    edit,
    edit_form,
)

pytestmark = pytest.mark.django_db

TARGET = f"{ADD}target/"
LIMIT, JOB_LIMIT = "policy-max_live_per_schedule", "policy-max_live"
TIME_LIMITS = "policy-time_limit", "policy-time_limit_grace"


def placeholders(page: str, *names: str) -> dict[str, str]:
    """The placeholders of fields, by default of the limits of live runs."""
    inputs = {
        name: tag for tag in re.findall(r"<input[^>]+>", page) for name in re.findall(r'name="([^"]+)"', tag)
    }
    found = names or (LIMIT, JOB_LIMIT)
    return {name: "".join(re.findall(r'placeholder="([^"]*)"', inputs[name])) for name in found}


def test_a_schedule_has_its_own_limits_of_live_runs(admin_client: Client) -> None:
    add(admin_client, "allowing", policy__max_live_per_schedule="10", policy__max_live="500")
    policy = SchedulePolicy.objects.get()
    assert (policy.max_live_per_schedule, policy.max_live) == (10, 500)
    edit(admin_client, policy.schedule, policy__max_live_per_schedule="")
    policy.refresh_from_db()
    assert (policy.max_live_per_schedule, policy.max_live) == (None, 500)


@pytest.mark.every_database
@pytest.mark.parametrize("value", ["0", "-1", "many", "99999999999"])
def test_a_limit_that_the_database_would_not_take_is_a_validation_error(
    admin_client: Client, value: str
) -> None:
    answer = add(admin_client, "allowing", policy__max_live=value)
    assert 'class="errorlist"' in answer.text
    assert not SchedulePolicy.objects.exists()


def test_the_jobs_limits_are_the_placeholders(admin_client: Client) -> None:
    assert placeholders(admin_client.get(f"{ADD}?job=allowing").text) == {LIMIT: "3", JOB_LIMIT: "100"}
    assert placeholders(admin_client.get(f"{ADD}?job=trace").text) == {LIMIT: "1000000", JOB_LIMIT: "1000000"}
    assert placeholders(admin_client.get(change_url(create_hourly())).text) == {LIMIT: "3", JOB_LIMIT: "100"}


def test_another_jobs_limits_come_with_its_options_and_keep_what_was_typed(admin_client: Client) -> None:
    typed = edit_form(admin_client, f"{ADD}?job=allowing").after(
        target__job="trace", policy__max_live_per_schedule="7"
    )
    answer = admin_client.post(TARGET, typed).text
    assert placeholders(answer) == {LIMIT: "1000000", JOB_LIMIT: "1000000"}
    assert 'hx-swap-oob="true"' in answer
    assert form_in(f'<form id="x">{answer}</form>', "x").after()[LIMIT] == ["7"]


def test_limits_are_marked_as_without_effect_for_a_job_that_does_not_overlap(admin_client: Client) -> None:
    assert "edit-exclusive" in admin_client.get(f"{ADD}?job=probe").text
    assert "edit-exclusive" not in admin_client.get(f"{ADD}?job=allowing").text


def test_a_schedule_has_a_time_limit_of_its_own(admin_client: Client) -> None:
    add(admin_client, "probe", policy__time_limit="10 min", policy__time_limit_grace="0s")
    policy = SchedulePolicy.objects.get()
    assert (policy.time_limit, policy.time_limit_grace) == (timedelta(minutes=10), timedelta(0))
    edit(admin_client, policy.schedule, policy__time_limit="1 h")
    policy.refresh_from_db()
    # Zero is not empty, and stays when the form is saved again.
    assert (policy.time_limit, policy.time_limit_grace) == (timedelta(hours=1), timedelta(0))
    edit(admin_client, policy.schedule, policy__time_limit="", policy__time_limit_grace="")
    policy.refresh_from_db()
    assert (policy.time_limit, policy.time_limit_grace) == (None, None)


@pytest.mark.parametrize("length", [timedelta(milliseconds=500), timedelta(days=3, seconds=1)])
def test_a_time_limit_is_shown_as_it_can_be_entered_again(admin_client: Client, length: timedelta) -> None:
    schedule = create_hourly()
    SchedulePolicy.objects.update(time_limit=length)
    edit(admin_client, schedule, name="renamed")
    assert SchedulePolicy.objects.get().time_limit == length


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("time_limit", "0s", "Must be greater than zero."),
        ("time_limit", "1001d", "Must not be longer than 1000 days."),
        ("time_limit", "soon", "Enter a duration"),
        ("time_limit_grace", "1001d", "Must not be longer than 1000 days."),
    ],
)
def test_a_time_limit_is_validated(admin_client: Client, field: str, value: str, error: str) -> None:
    answer = add(admin_client, "probe", **{f"policy__{field}": value})
    assert error in answer.text
    assert not SchedulePolicy.objects.exists()


def test_the_jobs_time_limit_is_the_placeholder(admin_client: Client) -> None:
    page = admin_client.get(f"{ADD}?job=limited").text
    assert placeholders(page, *TIME_LIMITS) == {TIME_LIMITS[0]: "5 s", TIME_LIMITS[1]: "2 s"}
    page = admin_client.get(f"{ADD}?job=probe").text
    assert placeholders(page, *TIME_LIMITS) == {TIME_LIMITS[0]: "no limit", TIME_LIMITS[1]: "30 s"}


def test_a_changed_time_limit_is_in_the_audit_log(admin_client: Client) -> None:
    schedule = create_hourly()
    edit(admin_client, schedule, policy__time_limit="10 min", policy__time_limit_grace="0s")
    edit(admin_client, schedule, policy__time_limit="1 h", policy__time_limit_grace="")
    assert [entry.changes for entry in AuditEntry.objects.order_by("pk")] == [
        [["Time limit", "", "10 min"], ["Time to clean up", "", "0 s"]],
        [["Time limit", "10 min", "1 h"], ["Time to clean up", "0 s", ""]],
    ]
