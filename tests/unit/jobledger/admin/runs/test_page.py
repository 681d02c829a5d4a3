"""The contents of a run's page, in few queries."""

from datetime import timedelta
from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin import display
from jobledger.admin.runs import page as run_page
from jobledger.admin.runs.live import LiveUpdate, OutputView
from jobledger.admin.runs.page import RunPage
from jobledger.models import Reason, Run, RunAttempt, Status, Trigger, Why
from jobledger.runs import overlap
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run, schedule

pytestmark = pytest.mark.django_db


def page_of(run: Run) -> RunPage:
    loaded = run_page.load(run.pk)
    assert loaded is not None
    return RunPage(loaded, NOON + timedelta(hours=1))


def add_attempt(run: Run, attempt: int, **values: object) -> RunAttempt:
    return RunAttempt.objects.create(
        **{"run": run, "attempt": attempt, "status": Status.FAILED, "finished_at": NOON, **values}
    )


def test_a_queued_run_links_to_the_run_that_it_waits_for() -> None:
    holder = create_run(status=Status.RUNNING, concurrency_key="probe", started_at=NOON)
    waits = overlap.held_by(None).columns
    page = page_of(create_run(status=Status.QUEUED, concurrency_key="probe", publish_count=1, **waits))
    assert f'waiting for run <a href="{display.run_url(holder.pk)}">{str(holder.pk)[:8]}</a>' in page.sentence


def test_a_skipped_run_links_to_the_blocking_run_and_names_are_escaped() -> None:
    holder = create_run(status=Status.RUNNING, started_at=NOON, trigger=Trigger.ADMIN, username="<anna>")
    page = page_of(create_run(status=Status.SKIPPED, **overlap.held_by(holder).columns))
    address = display.run_url(holder.pk)
    assert f'Skipped: run <a href="{address}">{holder.short_id}</a> of the same job' in page.sentence
    assert "by &lt;anna&gt; on the web" in page.sentence


def test_a_skipped_run_links_to_the_paused_schedule() -> None:
    nightly = schedule("nightly")
    page = page_of(
        create_run(status=Status.SKIPPED, reason="paused", schedule=nightly, schedule_name="nightly")
    )
    assert f'schedule <a href="{page.schedule_url}">nightly</a> was paused' in page.sentence


def test_the_page_of_a_task_whose_end_is_awaited_is_updated_until_it_is_known() -> None:
    why = Why.of(Reason.AWAITS_RESULT, within_seconds=86400)
    run = create_run(status=Status.SENT, look_at=NOON, **why.columns)
    page = page_of(run)
    assert "its end is not in Celery&#x27;s result backend yet" in page.sentence
    assert OutputView(page, QueryDict()).live_url
    assert not LiveUpdate(page, QueryDict(f"state={page.state_token}")).has_new_state
    begun = why.plus(state="STARTED")
    Run.objects.filter(pk=run.pk).update(**begun.columns)
    assert page_of(run).state_token != page.state_token
    Run.objects.filter(pk=run.pk).update(look_at=None)
    over = page_of(run)
    assert OutputView(over, QueryDict()).live_url == ""
    assert LiveUpdate(over, QueryDict()).is_last


def test_an_earlier_attempt_has_the_reason_for_its_failure() -> None:
    run = create_run(attempt=2)
    add_attempt(run, 1, status=Status.TIMED_OUT, **Why.of(Reason.TIME_LIMIT, limit_seconds=60).columns)
    (attempt,) = page_of(run).attempts
    assert attempt.why == "The run exceeded its time limit of 1 min."


def test_times_are_exact_and_relative() -> None:
    page = page_of(create_run(started_at=NOON, finished_at=NOON + timedelta(seconds=5), scheduled_for=NOON))
    times = dict(page.times)
    assert list(times) == ["Scheduled for", "Queued", "Started", "Finished", "Duration"]
    assert "2026-03-01 12:00:00 UTC (1 h ago)" in times["Started"]
    assert times["Duration"] == "5 s"


def test_a_live_run_has_its_duration_so_far() -> None:
    assert dict(page_of(create_run(status=Status.RUNNING, started_at=NOON)).times)["Running for"] == "1 h"


def test_what_an_attempt_has_used_is_shown_if_known() -> None:
    run = create_run(attempt=2, cpu_seconds=75.5, peak_memory_bytes=84 * 2**20)
    add_attempt(run, 1, cpu_seconds=0.042)
    page = page_of(run)
    assert page.resources == [("CPU time", "1 min 16 s"), ("peak memory", "84 MB")]
    assert [attempt.resources for attempt in page.attempts] == [[("CPU time", "42 ms")]]
    assert page_of(create_run()).resources == []


def test_earlier_attempts_are_listed_newest_first() -> None:
    run = create_run(attempt=3)
    add_attempt(run, 1)
    add_attempt(run, 2)
    assert [attempt.row.attempt for attempt in page_of(run).attempts] == [2, 1]


def test_what_a_job_has_left_behind_is_named() -> None:
    assert page_of(create_run()).left_behind == ""
    left = [{"pid": 7, "name": "sleep 600"}, {"pid": None, "name": "poller"}]
    assert page_of(create_run(left_behind=left)).left_behind == "process 7 (sleep 600), thread poller"


def test_the_time_limit_is_shown_with_who_has_set_it(admin_client: Client) -> None:
    run = create_run(status=Status.QUEUED, job="limited", time_limit=timedelta(minutes=10))
    limit = "10 min, then 2 s to clean up (set by its schedule)"
    assert page_of(run).time_limit == limit
    page = admin_client.get(display.run_url(run.pk)).text
    assert f"<dt>Time limit</dt><dd>{limit}</dd>" in page


@pytest.mark.parametrize(
    ("routing", "shown"),
    [
        ({"queue": "reports", "priority": 3}, "reports, priority 3"),
        ({"exchange": "x", "routing_key": "y"}, "exchange x, routing key y"),
        ({"priority": 0}, "priority 0"),
    ],
)
def test_the_queue_of_a_run_is_shown(admin_client: Client, routing: dict[str, Any], shown: str) -> None:
    run = create_run(status=Status.QUEUED, routing=routing)
    assert f"<dt>Queue</dt><dd>{shown}</dd>" in admin_client.get(display.run_url(run.pk)).text


def test_a_run_whose_queue_is_left_to_celery_shows_none(admin_client: Client) -> None:
    page = admin_client.get(display.run_url(create_run(status=Status.QUEUED).pk)).text
    assert "<dt>Queue</dt>" not in page


def test_the_previous_output_is_shown_until_the_next_attempt_starts() -> None:
    assert page_of(create_run(status=Status.QUEUED, attempt=2)).last_started_attempt == 1
    assert page_of(create_run(status=Status.RUNNING, attempt=2)).last_started_attempt == 2


def test_parent_and_child_runs_are_listed() -> None:
    parent = create_run()
    children = [create_run(number, parent=parent, trigger=Trigger.JOB) for number in range(2)]
    assert [child.run for child in page_of(parent).children] == children
    shown = page_of(children[0]).parent
    assert shown is not None
    assert shown.run == parent


def test_only_the_first_child_runs_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_page, "MAX_CHILDREN", 2)
    parent = create_run()
    children = [create_run(number, parent=parent) for number in range(2)]
    assert not page_of(parent).has_more_children
    create_run(2, parent=parent)
    page = page_of(parent)
    assert ([child.run for child in page.children], page.has_more_children) == (children, True)


def test_an_existing_schedule_is_linked() -> None:
    nightly = schedule("nightly")
    assert str(nightly.pk) in page_of(create_run(schedule=nightly, schedule_name="nightly")).schedule_url
    assert page_of(create_run(schedule_name="deleted")).schedule_url == ""


def test_errors_do_not_contain_secrets() -> None:
    run = create_run(
        job="talking",
        status=Status.FAILED,
        options={"api_key": "sesame-street"},
        error="bad key sesame-street\nline",
        traceback="key='sesame-street'",
        attempt=2,
    )
    add_attempt(run, 1, error="sesame-street", traceback="sesame-street")
    page = page_of(run)
    (attempt,) = page.attempts
    assert "sesame" not in f"{page.sentence}{page.error}{page.traceback}{attempt.why}{attempt.traceback}"


def test_the_state_token_changes_with_status_attempt_and_cancellation() -> None:
    run = create_run(status=Status.RUNNING)
    states = {page_of(run).state_token}
    for changes in ({"cancel_requested_at": NOON}, {"attempt": 2}, {"status": Status.LOST}):
        Run.objects.filter(pk=run.pk).update(**changes)
        states.add(page_of(run).state_token)
    assert len(states) == 4


def test_the_number_of_queries_is_constant(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    run = create_run(attempt=30, parent=create_run())
    for number in range(1, 30):
        add_attempt(run, number)
        create_run(number, parent=run)
    with django_assert_max_num_queries(3):
        page = page_of(run)
        assert (len(page.attempts), len(page.children)) == (29, 29)
        assert page.parent is not None
        assert all([page.parent.mark, page.sentence, page.times])


def test_options_are_shown_with_the_equivalent_command() -> None:
    shown = RunPage(create_run(options={"level": 3, "words": ["a b"]}), NOON).options
    assert shown.named == [("level", "3"), ("words", '["a b"]')]
    assert shown.command_line == "manage.py probe --level 3 'a b'"


def test_secrets_are_masked_everywhere() -> None:
    run = create_run(job="talking", options={"api_key": "sesame-street"})
    shown = RunPage(run, NOON).options
    assert "sesame" not in f"{shown.named} {shown.command_line}"
    assert "--api-key" in shown.command_line


@pytest.mark.parametrize(
    ("job", "options"), [("gone", {"x": 1}), ("probe", {"level": [1, 2]}), ("probe", {"new": 1})]
)
def test_there_may_be_no_equivalent_command(job: str, options: dict[str, object]) -> None:
    shown = RunPage(create_run(job=job, options=options), NOON).options
    assert (len(shown.named), shown.command_line) == (1, "")


def test_an_ordinary_task_has_positional_arguments() -> None:
    assert RunPage(create_run(job="proj.tasks.ping", args=["x", 1]), NOON).options.positional == ["x", "1"]
