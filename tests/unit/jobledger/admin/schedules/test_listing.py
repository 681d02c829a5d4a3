"""The list of schedules: columns, filters, sorting and number of queries."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.models import NextSlot, Pause, Status
from tests.unit.jobledger.admin.schedules.schedules import LIST, member, page, run_of, unreadable
from tests.unit.jobledger.schedules.builders import NOON, every, hourly

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MAX_QUERIES = 14
"""The number of queries of the page for an administrator, whatever it shows."""


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


def names(client: Client, **query: str) -> list[str]:
    """The names of the schedules on the page, in order."""
    return [schedule.name for schedule in client.get(reverse(LIST), query).context["cl"].result_list]


def test_a_row_shows_timing_job_and_last_runs(admin_client: Client) -> None:
    run = run_of(hourly("cleaning"), minutes_ago=5, seconds=72)
    text = page(admin_client)
    assert "cleaning" in text
    assert f'<a href="{reverse("admin:jobledger_job", args=["probe"])}">probe</a>' in text
    assert f'href="{reverse("admin:jobledger_run_changelist")}?schedule=cleaning"' in text
    assert "every hour" in text
    assert "in 1 h" in text
    assert f'<a href="{reverse("admin:jobledger_run_change", args=[run.pk])}">' in text
    assert "succeeded</span></a> 1 min 12 s" in text
    assert 'aria-label="Last run: 1 succeeded"' in text


def test_the_next_run_is_shown_in_the_time_zone_of_the_schedule(admin_client: Client) -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="9", timezone=ZoneInfo("America/New_York"))
    PeriodicTask.objects.create(name="mine", task="probes.probe", crontab=crontab)
    text = page(admin_client)
    assert "2026-03-02 09:00 EST" in text
    assert 'title="2026-03-02 14:00:00 UTC"' in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"slot": NOON - HOUR}, "due 1 h ago"), ({"slot": None, "due_at": None}, "no more runs")],
)
def test_late_and_missing_next_runs_are_shown(
    admin_client: Client, changes: dict[str, object], expected: str
) -> None:
    hourly()
    NextSlot.objects.update(**changes)
    assert expected in page(admin_client)


def test_the_next_run_is_unknown_until_beat_has_seen_the_schedule(admin_client: Client) -> None:
    hourly()
    NextSlot.objects.all().delete()
    assert "not known yet" in page(admin_client)


def test_a_broken_schedule_shows_the_reason(admin_client: Client) -> None:
    hourly(minute="99")
    text = page(admin_client)
    assert "#broken" in text
    assert "minute: 99 is not between 0 and 59" in text


def test_a_paused_schedule_shows_end_user_and_reason(admin_client: Client) -> None:
    Pause.objects.create(
        schedule=hourly(), since=NOON, until=NOON + 2 * HOUR, username="ann", reason="<b>move</b>"
    )
    text = page(admin_client)
    assert "by ann until 2026-03-02 14:00:00 UTC (in 2 h): &lt;b&gt;move&lt;/b&gt;" in text
    assert "will be skipped" in text
    assert '#enabled"' not in text


def test_a_service_pause_is_shown_once_and_for_each_schedule(admin_client: Client) -> None:
    hourly()
    Pause.objects.create(since=NOON, username="ann", reason="the database moves")
    text = page(admin_client)
    assert text.count("the database moves") == 1
    assert "whole service" in text


def test_a_disabled_and_paused_schedule_shows_both(admin_client: Client) -> None:
    Pause.objects.create(schedule=hourly(enabled=False), since=NOON)
    text = page(admin_client)
    assert "#disabled" in text
    assert "until resumed" in text


def test_a_schedule_with_invalid_timing_does_not_hide_others(admin_client: Client) -> None:
    hourly("good")
    unreadable(hourly("bad"))
    assert "invalid timing" in page(admin_client)
    assert names(admin_client) == ["bad", "good"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "CLEAN"}, ["cleaning"]),
        ({"q": "probes.probe"}, ["cleaning", "paced"]),
        ({"q": "spotless"}, ["cleaning"]),
        ({"status": "enabled"}, ["cleaning", "odd", "paced"]),
        ({"status": "disabled"}, ["idle"]),
        ({"status": "paused"}, ["paced"]),
        ({"status": "broken"}, ["odd"]),
        ({"job": "probes.trace"}, ["idle", "odd"]),
        ({"times": "interval"}, ["paced"]),
        ({"times": "solar"}, []),
        ({"last": "failed"}, ["cleaning"]),
        ({"last": "succeeded"}, []),
        (
            {"status": "nonsense", "last": "nonsense", "times": "nonsense"},
            ["cleaning", "idle", "odd", "paced"],
        ),
    ],
)
def test_the_list_can_be_searched_and_filtered(
    admin_client: Client, query: dict[str, str], found: list[str]
) -> None:
    cleaning = hourly("cleaning", description="Keeps it spotless.")
    run_of(cleaning, minutes_ago=9)
    run_of(cleaning, minutes_ago=1, status=Status.FAILED)
    Pause.objects.create(schedule=every(90, "paced"), since=NOON)
    hourly("idle", enabled=False, task="probes.trace")
    hourly("odd", minute="99", task="probes.trace")
    assert names(admin_client, **query) == found


def test_the_list_is_sorted_by_name_or_by_next_run_with_nulls_last(admin_client: Client) -> None:
    hourly("a late one", minute="50")
    hourly("b none", enabled=False)
    hourly("c soon", minute="10")
    assert names(admin_client) == ["a late one", "b none", "c soon"]
    assert names(admin_client, o="5") == ["c soon", "a late one", "b none"]
    assert names(admin_client, o="-5") == ["a late one", "c soon", "b none"]


def test_an_empty_list_explains_how_to_add_schedules(admin_client: Client, client: Client) -> None:
    assert "Add one</a>" in page(admin_client)
    member(client, "Job viewers")
    assert "Add one</a>" not in page(client)
    assert "A user with permission to add schedules" in page(client)


def test_a_search_without_results_links_to_all_schedules(admin_client: Client) -> None:
    hourly()
    text = page(admin_client, q="nothing like that")
    assert "No schedules match." in text
    assert '<a href="?">' in text


def test_runs_are_hidden_from_users_without_permission(client: Client) -> None:
    run_of(hourly(), status=Status.FAILED)
    user = member(client, "Job viewers")
    assert "failed" in page(client)
    user.groups.clear()
    user.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    text = page(client)
    assert "hourly" in text
    assert "failed" not in text
    assert '<td class="field-job">probe</td>' in text


def test_the_number_of_queries_is_constant(admin_client: Client) -> None:
    counts = []
    for size in (2, 40):
        for number in range(size):
            schedule = hourly(f"number {size} {number}")
            Pause.objects.create(schedule=schedule, since=NOON)
            run_of(schedule)
        with CaptureQueriesContext(connection) as queries:
            page(admin_client)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= MAX_QUERIES, f"{counts} queries"


def test_the_number_of_urls_that_are_resolved_is_constant(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved: list[str] = []

    def counted(name: str, *args: Any, **more: Any) -> str:
        resolved.append(name)
        return reverse(name, *args, **more)

    for module in ("jobledger.admin_site", "django.contrib.admin.views.main"):
        monkeypatch.setattr(f"{module}.reverse", counted)
    counts = []
    for size in (2, 20):
        schedules = [hourly(f"number {size} {number}") for number in range(size)]
        resolved.clear()
        text = page(admin_client)
        counts.append(len(resolved))
        for schedule in schedules:
            change = reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])
            assert f'<a href="{change}">{schedule.name}</a>' in text
    assert counts[0] == counts[1] > 0, f"{counts} URLs"


@pytest.mark.parametrize(
    ("job", "found"), [("probes.probe", ["mine"]), ("gone", []), ("pro\x00be", []), ("", ["mine"])]
)
def test_filtering_by_a_job_without_schedules_finds_nothing(
    admin_client: Client, job: str, found: list[str]
) -> None:
    hourly("mine")
    answer = admin_client.get(reverse(LIST), {"job": job})
    assert [schedule.name for schedule in answer.context["cl"].result_list] == found


def test_an_invalid_action_index_is_ignored(admin_client: Client) -> None:
    answer = admin_client.post(reverse(LIST), {"action": "", "index": "9" * 5000})
    assert answer.status_code == 302
