"""The policy's form, with the limits of the job as placeholders for those of the schedule."""

import re

import pytest
from django.test import Client

from jobledger.models import SchedulePolicy
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


def placeholders(page: str) -> dict[str, str]:
    """The placeholders of the limits."""
    inputs = {
        name: tag for tag in re.findall(r"<input[^>]+>", page) for name in re.findall(r'name="([^"]+)"', tag)
    }
    return {name: "".join(re.findall(r'placeholder="([^"]*)"', inputs[name])) for name in (LIMIT, JOB_LIMIT)}


def test_a_schedule_has_its_own_limits_of_live_runs(admin_client: Client) -> None:
    add(admin_client, "allowing", policy__max_live_per_schedule="10", policy__max_live="500")
    policy = SchedulePolicy.objects.get()
    assert (policy.max_live_per_schedule, policy.max_live) == (10, 500)
    edit(admin_client, policy.schedule, policy__max_live_per_schedule="")
    policy.refresh_from_db()
    assert (policy.max_live_per_schedule, policy.max_live) == (None, 500)


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
