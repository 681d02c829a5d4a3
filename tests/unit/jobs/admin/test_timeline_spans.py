"""The timeline's runs come out of the ledger singly while they are few, and counted when they are many."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from tasks_app.jobs.admin import timeline, timeline_spans
from tasks_app.jobs.admin.run_addresses import RunAddresses
from tasks_app.jobs.admin.timeline import Window
from tasks_app.jobs.models import Run, Status, Trigger
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

DAY = Window(begin=NOON - timedelta(days=1), end=NOON)


def made(minutes_ago: int, **values: object) -> Run:
    at = NOON - timedelta(minutes=minutes_ago)
    given = {"job": "probe", "trigger": Trigger.SCHEDULE, "status": Status.SUCCEEDED, "queued_at": at}
    return Run.objects.create(**{**given, **values})


def test_a_run_is_shown_from_its_start_to_its_end() -> None:
    begin = NOON - timedelta(minutes=9)
    run = made(10, started_at=begin, finished_at=NOON)
    (span,) = timeline_spans.spans(DAY)
    assert (span.begin, span.end, span.count) == (begin, NOON, 1)
    assert span.run_id == run.pk


def test_a_run_that_goes_on_reaches_until_now() -> None:
    made(10, status=Status.RUNNING, started_at=NOON - timedelta(minutes=10))
    assert timeline_spans.spans(DAY)[0].end == NOON


def test_a_slot_without_a_run_stands_where_it_was() -> None:
    made(10, status=Status.MISSED)
    (span,) = timeline_spans.spans(DAY)
    assert span.begin == span.end == NOON - timedelta(minutes=10)


def test_what_was_before_is_not_shown() -> None:
    made(25 * 60)
    assert timeline_spans.spans(DAY) == []


def test_runs_that_lie_upon_each_other_are_counted_and_look_like_the_worst_of_them() -> None:
    for status in (Status.SUCCEEDED, Status.SKIPPED, Status.FAILED, Status.SUCCEEDED):
        made(10, status=status)
    made(700)
    found = {(span.status, span.count, span.run_id is None) for span in timeline_spans.spans(DAY)}
    assert found == {(Status.FAILED, 4, True), (Status.SUCCEEDED, 1, False)}


def test_one_that_goes_on_among_others_reaches_until_now() -> None:
    made(10, status=Status.FAILED, finished_at=NOON - timedelta(minutes=9))
    made(10, status=Status.RUNNING)
    (span,) = timeline_spans.spans(DAY)
    assert (span.status, span.end) == (Status.FAILED, NOON)


def test_one_query_is_enough_however_many_there_are(django_assert_num_queries: Any) -> None:
    for minutes in range(100):
        made(minutes)
    with django_assert_num_queries(1):
        assert sum(span.count for span in timeline_spans.spans(DAY)) == 100


def test_the_mark_of_several_runs_leads_to_a_list_of_just_these(admin_client: Client) -> None:
    queued = [made(10, started_at=NOON - timedelta(minutes=9, seconds=seconds)) for seconds in (50, 51, 52)]
    other = made(60)
    rows = timeline.rows(timeline_spans.spans(DAY), DAY)
    picture = timeline.picture(rows, DAY, "Runs", RunAddresses())
    (address,) = re.findall(r'href="([^"]*&amp;to=[^"]*)"', picture)
    page = admin_client.get(html.unescape(address)).text
    assert all(str(run.pk) in page for run in queued)
    assert str(other.pk) not in page
