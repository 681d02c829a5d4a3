"""Once the message of an ordinary task is sent, its end is awaited, unless it never can be known."""

from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobledger.models import OPEN, ProcessKind, Reason, Run, ServiceProcess, Status, Why
from jobledger.runs.elsewhere import awaiting
from jobledger.runs.elsewhere.awaiting import FIRST_LOOK, MAX_SILENCE
from jobledger.runs.publishing import publisher
from tests.unit.broker import Broker
from tests.unit.builders import NOON
from tests.unit.jobledger.alerts.builders import destination, fail, rule, told
from tests.unit.jobledger.runs.elsewhere.builders import CHARGE, Elsewhere, sent

pytestmark = pytest.mark.django_db

ADD = "tests.probes.tasks.add"


def worker_reads(*queues: str) -> None:
    ServiceProcess.objects.create(
        kind=ProcessKind.WORKER, name="celery@here", seen_at=timezone.now(), queues=list(queues)
    )


def test_the_end_of_a_task_that_no_worker_of_this_project_knows_is_awaited(elsewhere: Elsewhere) -> None:
    run = sent()
    assert (run.status, run.reason, run.is_over) == ("sent", "awaits_result", False)
    assert (run.look_at, run.publish_after, run.finished_at) == (NOON + FIRST_LOOK, None, None)
    assert list(Run.objects.filter(OPEN)) == [run]


def test_its_message_leaves_it_to_the_task_whether_its_result_is_stored(
    elsewhere: Elsewhere, broker: Broker
) -> None:
    sent()
    (message,) = broker.messages
    assert message.headers["ignore_result"] is None


@pytest.mark.parametrize(("url", "kind"), [("disabled://", "disabled"), ("rpc://", "rpc")])
def test_without_a_result_backend_nothing_is_awaited(
    url: str, kind: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    monkeypatch.setattr("jobledger.runs.elsewhere.backend.current_app", Elsewhere(tmp_path / "x", url).app)
    run = sent()
    assert (run.status, run.reason, run.reason_details) == ("sent", "no_result_backend", {"backend": kind})
    assert (run.is_over, run.look_at, run.finished_at) == (True, None, NOON)
    assert broker.messages[-1].headers["ignore_result"] is True


def test_a_worker_of_this_project_reports_by_itself(elsewhere: Elsewhere, broker: Broker) -> None:
    worker_reads("other", current_app.conf.task_default_queue)
    run = sent(job=ADD, args=[1, 2])
    assert (run.status, run.look_at) == ("queued", None)
    assert broker.messages[-1].headers["ignore_result"] is True


def test_if_none_reads_the_queue_an_older_worker_without_the_service_may(
    elsewhere: Elsewhere, broker: Broker
) -> None:
    worker_reads("other")
    run = sent(job=ADD, args=[1, 2])
    assert (run.status, run.look_at) == ("queued", NOON + FIRST_LOOK)
    assert broker.messages[-1].headers["ignore_result"] is None


def test_where_an_exchange_leads_is_not_known(elsewhere: Elsewhere) -> None:
    assert sent(job=ADD, args=[1, 2], routing={"exchange": "x"}).look_at is None


def test_jobs_cost_no_more(elsewhere: Elsewhere) -> None:
    run = Run.objects.create(job="probe", trigger="schedule", publish_after=NOON)
    with CaptureQueriesContext(connection) as queries:
        awaiting.expect([run])
    assert len(queries) == 0


@pytest.mark.parametrize("count", [1, 30])
def test_however_many_are_sent_few_statements_record_it(elsewhere: Elsewhere, count: int) -> None:
    worker_reads("other")
    jobs = [CHARGE, ADD] * count
    runs = [Run(job=job, args=[1, 2], trigger="schedule", queued_at=NOON, publish_after=NOON) for job in jobs]
    Run.objects.bulk_create(runs)
    with CaptureQueriesContext(connection) as queries:
        publisher.publish(runs)
    assert len(queries) == 4
    assert Run.objects.filter(look_at=NOON + FIRST_LOOK).count() == 2 * count


def test_an_end_that_is_not_known_is_no_recovery(elsewhere: Elsewhere) -> None:
    rule(destination())
    fail(job=CHARGE)
    run = sent()
    assert told() == ["failed"]
    awaiting.give_up([run.pk], Why.of(Reason.NO_RESULT), NOON)
    assert told() == ["failed"]


def test_a_run_that_has_ended_or_begun_meanwhile_is_not_given_up(elsewhere: Elsewhere) -> None:
    ended, begun, awaited = sent(), sent(), sent()
    Run.objects.filter(pk=ended.pk).update(status=Status.FAILED, look_at=None)
    Run.objects.filter(pk=begun.pk).update(status=Status.RUNNING, look_at=None)
    why = Why.of(Reason.NO_RESULT, within_seconds=MAX_SILENCE)
    awaiting.give_up([run.pk for run in (ended, begun, awaited)], why, NOON)
    for run in ended, begun, awaited:
        run.refresh_from_db()
    assert (ended.status, begun.status, awaited.status) == ("failed", "running", "sent")
    assert (awaited.reason, awaited.reason_details) == ("no_result", {"within_seconds": 86400.0})
    assert awaited.is_over
