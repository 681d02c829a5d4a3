"""What follows from failures is set on a schedule's page; its ping URL is never shown again."""

from datetime import timedelta

import pytest
from django.test import Client

from jobledger.models import AuditEntry, SchedulePolicy
from tests.unit.jobledger.admin.schedules.edit_forms import add, change_url, create_hourly, edit

pytestmark = pytest.mark.django_db

URL = "https://hc-ping.com/s3cret"


def test_a_new_schedule_can_be_paused_after_failures_and_watched_by_a_monitor(admin_client: Client) -> None:
    add(
        admin_client,
        policy__pause_after_failures="3",
        policy__failure_pause="1 h",
        policy__ping_url=URL,
    )
    policy = SchedulePolicy.objects.get()
    assert (policy.pause_after_failures, policy.failure_pause) == (3, timedelta(hours=1))
    assert policy.ping_url == URL


def test_left_empty_they_are_the_jobs(admin_client: Client) -> None:
    add(admin_client)
    policy = SchedulePolicy.objects.get()
    assert (policy.pause_after_failures, policy.failure_pause, policy.ping_url) == (None, None, "")


def stored(url: str = URL) -> SchedulePolicy:
    schedule = create_hourly()
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url=url)
    return SchedulePolicy.objects.get(schedule=schedule)


def test_the_page_does_not_show_the_url_and_saving_it_keeps_the_url(admin_client: Client) -> None:
    policy = stored()
    assert "s3cret" not in admin_client.get(change_url(policy.schedule)).text
    edit(admin_client, policy.schedule, description="changed")
    policy.refresh_from_db()
    assert policy.ping_url == URL


def test_a_new_url_replaces_the_stored_one_and_the_audit_log_does_not_quote_it(admin_client: Client) -> None:
    policy = stored()
    edit(admin_client, policy.schedule, policy__ping_url="https://hc-ping.com/an0ther")
    policy.refresh_from_db()
    assert policy.ping_url == "https://hc-ping.com/an0ther"
    assert AuditEntry.objects.get().changes == [["Ping URL", "********", "******** (changed)"]]


def test_a_stored_url_can_be_removed(admin_client: Client) -> None:
    policy = stored()
    edit(admin_client, policy.schedule, **{"policy-ping_url-clear": "on"})
    policy.refresh_from_db()
    assert policy.ping_url == ""


def test_only_http_addresses_are_accepted(admin_client: Client) -> None:
    text = edit(admin_client, create_hourly(), policy__ping_url="hc-ping.com/s3cret").text
    assert "Enter an address such as https://hc-ping.com" in text
    assert "s3cret" not in text


def test_if_another_field_is_wrong_the_url_has_to_be_entered_again(admin_client: Client) -> None:
    text = edit(admin_client, create_hourly(), policy__ping_url=URL, name="").text
    assert "Enter it again" in text
    assert "s3cret" not in text
