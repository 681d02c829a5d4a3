"""A number of failures on a page leads to a list of exactly so many runs: those that were counted."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.admin.home.page import MAX_ROWS
from jobledger.admin.recent_runs import WINDOW
from jobledger.admin.schedules.status import RUNS_SHOWN
from jobledger.models import FAILURES, PROBLEMS, Run, Status, Trigger

pytestmark = pytest.mark.django_db

SCHEDULES = "/admin/django_celery_beat/periodictask/"


def made(status: Status, *, seconds_ago: float = 60, count: int = 1, **values: Any) -> None:
    """Runs that were queued at one time, as by one tick of beat."""
    at = timezone.now() - timedelta(seconds=seconds_ago)
    given = {"job": "probe", "trigger": Trigger.SCHEDULE, "status": status, "queued_at": at, **values}
    Run.objects.bulk_create(Run(**given) for _ in range(count))


def schedule(name: str = "often") -> PeriodicTask:
    hourly = IntervalSchedule.objects.create(every=1, period="hours")
    made: PeriodicTask = PeriodicTask.objects.create(name=name, task="probes.probe", interval=hourly)
    return made


def failures_link(page: str, pattern: str) -> tuple[int, str]:
    """The number that a link shows, and where it leads."""
    found = re.search(rf'<a[^>]*href="([^"]+)"[^>]*>\s*{pattern}', page)
    assert found is not None
    return int(found[2]), html.unescape(found[1])


def listed(client: Client, url: str) -> list[str]:
    """The statuses of all runs in the list, on all its pages."""
    statuses: list[str] = []
    while url:
        page = client.get(url).context["list"]
        assert not page.form.ignored
        statuses += [row.run.status for row in page.rows]
        url = f"/admin/jobledger/run/{page.older_url}" if page.older_url else ""
    return statuses


def of_every_status(**values: Any) -> None:
    for number, status in enumerate(Status, start=1):
        made(status, seconds_ago=60 + number / 7, count=2, **values)


def test_the_homes_total_and_each_of_its_rows_lead_to_the_runs_that_they_count(admin_client: Client) -> None:
    of_every_status()
    made(Status.FAILED, seconds_ago=25 * 3600)
    for number in range(MAX_ROWS):
        made(Status.FAILED, job=f"job {number}", count=number + 1)
    page = admin_client.get("/admin/").context["problems"]
    total = 2 * len(PROBLEMS) + sum(range(MAX_ROWS + 1))
    assert (page.count, len(listed(admin_client, page.url))) == (total, total)
    for row in page.rows:
        assert len(listed(admin_client, row.url)) == row.count
    assert page.not_shown == total - sum(row.count for row in page.rows)
    assert failures_link(admin_client.get("/admin/").text, r"(\d+)<span")[0] == total


@pytest.mark.parametrize("path", ["/admin/jobledger/job/", "/admin/jobledger/job/probe/"])
def test_a_jobs_failures_lead_to_the_failed_among_its_last_runs(admin_client: Client, path: str) -> None:
    made(Status.FAILED, seconds_ago=9000, count=3)
    of_every_status()
    made(Status.SUCCEEDED, seconds_ago=50, count=WINDOW - 2 * len(Status))
    count, url = failures_link(admin_client.get(path).text, r"(\d+) failed")
    found = listed(admin_client, url)
    assert (count, sorted(found)) == (2 * len(FAILURES), sorted(2 * FAILURES))


def test_of_runs_queued_at_one_time_of_which_not_all_are_looked_at_none_is_counted(
    admin_client: Client,
) -> None:
    made(Status.FAILED, seconds_ago=100, count=7)
    made(Status.FAILED, seconds_ago=90)
    made(Status.SUCCEEDED, seconds_ago=80, count=WINDOW - 3)
    count, url = failures_link(admin_client.get("/admin/jobledger/job/").text, r"(\d+) failed")
    assert (count, listed(admin_client, url)) == (1, ["failed"])


def test_a_job_without_failures_has_no_link_to_them(admin_client: Client) -> None:
    made(Status.SUCCEEDED)
    made(Status.FAILED, seconds_ago=9000)
    made(Status.SUCCEEDED, count=WINDOW)
    assert "status=failure" not in admin_client.get("/admin/jobledger/job/").text


def test_a_schedules_problems_lead_to_those_among_its_last_runs(admin_client: Client) -> None:
    often, other = schedule(), schedule("other")
    made(Status.FAILED, schedule=other, count=4)
    made(Status.MISSED, schedule=often, seconds_ago=9000, count=RUNS_SHOWN)
    made(Status.MISSED, schedule=often, seconds_ago=80, count=3)
    made(Status.FAILED, schedule=often, seconds_ago=70)
    made(Status.SUCCEEDED, schedule=often, count=RUNS_SHOWN - 6)
    count, url = failures_link(admin_client.get(f"{SCHEDULES}?q=often").text, r"(\d+) failed or missed")
    # Those that were queued with the oldest one in the picture are counted, too.
    assert (count, sorted(listed(admin_client, url))) == (24, ["failed", *["missed"] * 23])

    page = admin_client.get(f"{SCHEDULES}{often.pk}/change/").text
    count, url = failures_link(page, r"(\d+) of the last \d+ runs failed or were missed")
    assert (count, len(listed(admin_client, url))) == (4 + RUNS_SHOWN, 4 + RUNS_SHOWN)


def test_the_timelines_bar_of_several_runs_leads_to_exactly_these(admin_client: Client) -> None:
    made(Status.FAILED, seconds_ago=3600, count=3)
    made(Status.SUCCEEDED, seconds_ago=3600.4)
    page = admin_client.get("/admin/").text
    found = re.search(r'<a href="([^"]+)" tabindex="0" aria-label="probe: (\d+) runs', page)
    assert found is not None
    assert len(listed(admin_client, html.unescape(found[1]))) == int(found[2]) == 4
