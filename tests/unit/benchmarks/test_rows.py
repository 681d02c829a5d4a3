"""Rows that need no process but the one of Django: each produces its figures, in a tiny size."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import Settings

from benchmarks import samples as samples_inside
from benchmarks import services
from benchmarks.pages import times
from benchmarks.rows import idle, pages, samples, sql
from benchmarks.rows.row import Plan, Row
from jobledger.models import Run, RunOutput, Status, Stream, Trigger
from tasks_app.models import AuthToken
from tests.unit.builders import override

pytestmark = pytest.mark.django_db

SMOKE = Plan(databases=("sqlite",), is_smoke=True)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is the test's, and what would be executed in it is called."""

    @contextmanager
    def nothing(*args: object, **kwargs: object) -> Iterator[Any]:
        yield lambda: [0.001, 0.002]

    monkeypatch.setattr(services, "started", nothing)
    monkeypatch.setattr(services, "output_of", lambda running, module, *line: INSIDE[module](*line))
    monkeypatch.setattr(samples_inside, "DAYS", 3)
    monkeypatch.setattr(samples, "copied", nothing)
    monkeypatch.setattr(samples, "writing", nothing)


def requested(*arguments: str) -> str:
    """The pages of a ledger with one run and one schedule."""
    every = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.HOURS)
    PeriodicTask.objects.create(name="hourly", task="tasks_app.hello", interval=every)
    now = timezone.now()
    run = Run.objects.create(
        job="hello",
        trigger=Trigger.CLI,
        status=Status.SUCCEEDED,
        queued_at=now - timedelta(minutes=1),
        started_at=now - timedelta(minutes=1),
        finished_at=now,
    )
    RunOutput.objects.create(
        run=run, attempt=1, number=0, stream=Stream.STDOUT, text="Hello!\n", written_at=now
    )
    return json.dumps(times.measured(repeat=1))


def sampled(action: str, _: str, count: str) -> str:
    return json.dumps(samples_inside.ACTIONS[action](int(count)))


INSIDE: dict[str, Callable[..., str]] = {
    "benchmarks.seed": lambda *line: "",
    "benchmarks.pages.times": requested,
    "benchmarks.samples": sampled,
}


@pytest.mark.parametrize(
    ("row", "count"),
    [*zip(samples.ROWS, (1, 3, 1), strict=True)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_sample_job_is_compared_to_what_a_user_would_write_first(row: Row, count: int) -> None:
    figures = list(row.measure(SMOKE, "sqlite"))
    assert len(figures) == count
    assert all(figure.here > 0 and figure.ratio for figure in figures)


def test_both_ways_to_delete_tokens_delete_the_older_half() -> None:
    samples_inside.fill_tokens(100)
    assert samples_inside.cleanup_tokens(0)["deleted"] == 50
    AuthToken.objects.all().delete()
    samples_inside.fill_tokens(100)
    assert samples_inside.delete_tokens(0)["deleted"] == 50


def test_the_job_and_the_loop_normalize_the_same_addresses() -> None:
    from django.contrib.auth import get_user_model

    samples_inside.normalize_emails(4)
    emails = get_user_model().objects.filter(username__startswith="user ").values_list("email", flat=True)
    assert sorted(emails) == [f"first.last.{number}@example.com" for number in range(4)]


def test_each_page_has_its_cpu_time_and_a_schedules_page_its_queries(settings: Settings) -> None:
    override(settings, METRICS_NETWORKS=["127.0.0.0/8"])
    (row,) = pages.ROWS
    figures = list(row.measure(SMOKE, "sqlite"))
    assert all(figure.here > 0 for figure in figures)
    assert [figure.title.partition(",")[0] for figure in figures if figure.target][-1] == "a schedule"
    assert sum(figure.target is not None for figure in figures) == len(pages.TARGETS) + 1


def test_an_idle_beat_with_many_schedules_is_compared_to_one_with_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def both(*kinds: str, **variables: str) -> Iterator[list[str]]:
        yield list(kinds)

    filled: list[tuple[str, ...]] = []
    one = idle.Idle(seconds=2, cpu_seconds=0.1, memory_mib=70, statements=0)
    monkeypatch.setattr(services, "side_by_side", both)
    monkeypatch.setattr(services, "output_of", lambda running, module, *line: filled.append(line))
    monkeypatch.setattr(idle, "_idle", lambda both, plan, logs_ticks: [one, one])
    figures = list(idle.ROWS[1].measure(SMOKE, "sqlite"))
    assert [(figure.here, figure.ratio) for figure in figures] == [(3, 1), (70, 1)]
    assert [line[-4:] for line in filled] == [("--size", "10", "--copies", each) for each in ("2", "0")]
    assert figures[0].title.startswith("idle beat with 30 schedules")


@pytest.mark.parametrize(("since_start", "begins_at"), [(3, 30), (10, 30), (11, 90), (41.5, 90), (75, 150)])
def test_the_minute_of_an_idle_beat_has_what_beat_does_once_a_minute_in_its_middle(
    since_start: float, begins_at: float
) -> None:
    seconds = idle._seconds_until_midway(since_start)
    assert since_start + seconds == begins_at
    assert seconds >= idle.SETTLING_SECONDS


def test_the_statements_of_a_workers_start_are_none_of_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql.Messages, "statements", lambda self, count: 50 + 3 * count)
    messages = sql.Messages(running=Mock(), send="", ended=sql.ENDED)
    assert messages.statements_each(Plan(databases=("postgres",))) == 3


def test_a_slot_takes_what_is_sent_beyond_an_idle_beat_and_the_slots_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used, running = [(2, 20), (0, 4)], Mock()
    monkeypatch.setattr(sql, "wait_until", lambda condition, what: None)
    monkeypatch.setattr(services, "cpu_until_logged", lambda running, name, text: 0.0)
    monkeypatch.setattr(sql.Messages, "ends", lambda self: 0)
    monkeypatch.setattr(sql, "_meanwhile", lambda running, plan, ends: used.pop(0))
    assert sql._of_slot(running, SMOKE, 3) == 5


def test_each_way_to_start_a_run_has_its_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def only_here(*kinds: str, **variables: str) -> Iterator[list[str]]:
        yield ["here"]

    monkeypatch.setattr(services, "side_by_side", only_here)
    monkeypatch.setattr(sql, "find_spec", lambda name: None)
    monkeypatch.setattr(
        sql.Messages, "statements_each", lambda self, plan: 3 if self.send == sql.PUBLISH else 5
    )
    monkeypatch.setattr(sql, "_of_slot", lambda running, plan, of_run: of_run + 1)
    figures = list(sql.ROWS[0].measure(SMOKE, "postgres"))
    assert [(figure.here, figure.is_met) for figure in figures] == [(3, True), (4, True), (5, True)]
