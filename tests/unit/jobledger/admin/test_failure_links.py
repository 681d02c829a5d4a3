"""Failure counts link to a list of exactly the runs that were counted."""

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


def create_runs(status: Status, *, seconds_ago: float = 60, count: int = 1, **values: Any) -> None:
    """Create runs that were queued at the same time, as by a single tick of beat."""
    at = timezone.now() - timedelta(seconds=seconds_ago)
    given = {"job": "probe", "trigger": Trigger.SCHEDULE, "status": status, "queued_at": at, **values}
    Run.objects.bulk_create(Run(**given) for _ in range(count))


def schedule(name: str = "often") -> PeriodicTask:
    hourly = IntervalSchedule.objects.create(every=1, period="hours")
    made: PeriodicTask = PeriodicTask.objects.create(name=name, task="probes.probe", interval=hourly)
    return made


def failures_link(page: str, pattern: str) -> tuple[int, str]:
    """The number in a link, and its URL."""
    found = re.search(rf'<a[^>]*href="([^"]+)"[^>]*>\s*{pattern}', page)
    assert found is not None
    return int(found[2]), html.unescape(found[1])


def statuses_in(client: Client, url: str) -> list[str]:
    """The statuses of all runs on all pages of the list."""
    statuses: list[str] = []
    while url:
        page = client.get(url).context["list"]
        assert not page.form.ignored
        statuses += [row.run.status for row in page.rows]
        url = f"/admin/jobledger/run/{page.older_url}" if page.older_url else ""
    return statuses


def of_every_status(**values: Any) -> None:
    for number, status in enumerate(Status, start=1):
        create_runs(status, seconds_ago=60 + number / 7, count=2, **values)


def test_the_total_and_rows_of_the_home_link_to_the_runs_that_they_count(admin_client: Client) -> None:
    of_every_status()
    create_runs(Status.FAILED, seconds_ago=25 * 3600)
    for number in range(MAX_ROWS):
        create_runs(Status.FAILED, job=f"job {number}", count=number + 1)
    page = admin_client.get("/admin/").context["problems"]
    total = 2 * len(PROBLEMS) + sum(range(MAX_ROWS + 1))
    assert (page.count, len(statuses_in(admin_client, page.url))) == (total, total)
    for row in page.rows:
        assert len(statuses_in(admin_client, row.url)) == row.count
    assert page.not_shown == total - sum(row.count for row in page.rows)
    assert failures_link(admin_client.get("/admin/").text, r"(\d+)<span")[0] == total


@pytest.mark.parametrize("path", ["/admin/jobledger/job/", "/admin/jobledger/job/probe/"])
def test_failures_of_a_job_link_to_the_failures_among_its_last_runs(admin_client: Client, path: str) -> None:
    create_runs(Status.FAILED, seconds_ago=9000, count=3)
    of_every_status()
    create_runs(Status.SUCCEEDED, seconds_ago=50, count=WINDOW - 2 * len(Status))
    count, url = failures_link(admin_client.get(path).text, r"(\d+) failed")
    found = statuses_in(admin_client, url)
    assert (count, sorted(found)) == (2 * len(FAILURES), sorted(2 * FAILURES))


def test_runs_queued_at_the_same_time_are_counted_only_if_all_were_read(
    admin_client: Client,
) -> None:
    create_runs(Status.FAILED, seconds_ago=100, count=7)
    create_runs(Status.FAILED, seconds_ago=90)
    create_runs(Status.SUCCEEDED, seconds_ago=80, count=WINDOW - 3)
    count, url = failures_link(admin_client.get("/admin/jobledger/job/").text, r"(\d+) failed")
    assert (count, statuses_in(admin_client, url)) == (1, ["failed"])


def test_a_job_without_failures_has_no_link_to_them(admin_client: Client) -> None:
    create_runs(Status.SUCCEEDED)
    create_runs(Status.FAILED, seconds_ago=9000)
    create_runs(Status.SUCCEEDED, count=WINDOW)
    assert "status=failure" not in admin_client.get("/admin/jobledger/job/").text


def test_problems_of_a_schedule_link_to_those_among_its_last_runs(admin_client: Client) -> None:
    often, other = schedule(), schedule("other")
    create_runs(Status.FAILED, schedule=other, count=4)
    create_runs(Status.MISSED, schedule=often, seconds_ago=9000, count=RUNS_SHOWN)
    create_runs(Status.MISSED, schedule=often, seconds_ago=80, count=3)
    create_runs(Status.FAILED, schedule=often, seconds_ago=70)
    create_runs(Status.SUCCEEDED, schedule=often, count=RUNS_SHOWN - 6)
    count, url = failures_link(admin_client.get(f"{SCHEDULES}?q=often").text, r"(\d+) failed or missed")
    # Runs queued at the same time as the oldest one in the sparkline are counted too.
    assert (count, sorted(statuses_in(admin_client, url))) == (24, ["failed", *["missed"] * 23])

    page = admin_client.get(f"{SCHEDULES}{often.pk}/change/").text
    count, url = failures_link(page, r"(\d+) of the last \d+ runs failed or were missed")
    assert (count, len(statuses_in(admin_client, url))) == (4 + RUNS_SHOWN, 4 + RUNS_SHOWN)


def test_a_single_run_of_a_schedule_is_not_counted(admin_client: Client) -> None:
    once = schedule()
    create_runs(Status.FAILED, schedule=once)
    page = admin_client.get(f"{SCHEDULES}{once.pk}/change/").text
    assert ">The last run failed or was missed</a>" in page


def test_a_timeline_bar_of_several_runs_links_to_exactly_these(admin_client: Client) -> None:
    create_runs(Status.FAILED, seconds_ago=3600, count=3)
    create_runs(Status.SUCCEEDED, seconds_ago=3600.4)
    page = admin_client.get("/admin/home/timeline/").text
    found = re.search(r'<a href="([^"]+)" tabindex="0" aria-label="probe: (\d+) runs', page)
    assert found is not None
    assert len(statuses_in(admin_client, html.unescape(found[1]))) == int(found[2]) == 4
