"""``jobledger call`` lets a worker run a job, if everything about the call is valid."""

import io
import json
import time
from dataclasses import dataclass
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from jobledger.admin import audit_log
from jobledger.models import ProcessKind, Run, ServiceProcess, Status, Trigger
from jobledger.runs import dispatch
from jobledger.runs.execution import runner
from jobledger.runs.identity import operating_system_user
from jobledger.runs.publishing import publisher
from jobledger.runs.service.code_version import code_version
from jobledger.schedules.audit import command_line_user
from tests.unit.broker import Broker
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run

# Messages are sent after the commit.
pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a call has printed, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str


def call(*words: str) -> Done:
    stdout, stderr, exit_code = io.StringIO(), io.StringIO(), 0
    try:
        call_command("jobledger", "call", *words, stdout=stdout, stderr=stderr)
    except CommandError as error:
        exit_code = error.returncode
        stderr.write(f"CommandError: {error}")
    except SystemExit as end:
        exit_code = int(end.code or 0)
    return Done(exit_code=exit_code, stdout=stdout.getvalue(), stderr=stderr.getvalue())


def start_worker(*queues: str, capacity: int = 4, version: str = "") -> None:
    ServiceProcess.objects.create(
        kind=ProcessKind.WORKER,
        name="celery@here",
        seen_at=timezone.now(),
        queues=list(queues),
        capacity=capacity,
        version=version or code_version(),
    )


@pytest.fixture
def worker(broker: Broker) -> None:
    """A worker that reports itself, but does nothing."""
    start_worker("celery")


@pytest.fixture
def working(worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that executes whatever is queued as soon as anyone waits."""

    def work(seconds: float) -> None:
        for run in Run.objects.filter(status=Status.QUEUED):
            runner.execute(run.pk, worker="celery@here:1")

    monkeypatch.setattr(time, "sleep", work)


def test_a_call_is_queued_and_sent_and_prints_only_the_runs_id(worker: None, broker: Broker) -> None:
    done = call("probe", "one", "--level", "2")
    run = Run.objects.get()
    assert done == Done(exit_code=0, stdout=f"{run.pk}\n", stderr="")
    assert (run.job, run.options) == ("probe", {"words": ["one"], "level": 2})
    assert (run.status, run.trigger, run.username) == ("queued", Trigger.CELERY, operating_system_user())
    (message,) = broker.messages
    assert (message.name, message.task_id, message.kwargs) == ("probes.probe", str(run.pk), run.options)


def test_a_call_is_in_the_audit_log_without_secrets_as_one_on_the_web_is(worker: None) -> None:
    assert call("choosing", "--days", "2", "--pin", "1234").exit_code == 0
    entry = audit_log.entries_of(Run.objects.get()).get()
    assert (entry.username, entry.text) == (
        command_line_user(),
        "Started manage.py choosing --days 2 --pin '********'.",
    )


def test_a_job_may_be_named_by_its_task(worker: None) -> None:
    assert call("probes.probe").exit_code == 0
    assert Run.objects.get().job == "probe"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["probe", "--level", "9"], "probe: argument --level: invalid choice: "),
        (["probe", "--lvl", "2"], "probe: unrecognized arguments: --lvl"),
        (["probe", "--settings", "x"], "probe: --settings: is an option of manage.py itself, not of the job"),
        (["choosing", "--all", "--only", "x"], "choosing: argument --only: not allowed with argument --all"),
        (["probe", "--json"], "Options of `call` come before the job's name: --json"),
        (["probe", "--wait", "--queue=x"], "Options of `call` come before the job's name: --queue --wait"),
    ],
)
def test_nothing_is_sent_with_options_that_the_jobs_parser_rejects(
    worker: None, broker: Broker, words: list[str], problem: str
) -> None:
    done = call(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert problem in done.stderr
    assert (broker.messages, Run.objects.count()) == ([], 0)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["porbe"], "There is no job 'porbe'. Did you mean probe?"),
        (["prob.choosing"], "There is no job 'prob.choosing'. Did you mean probes.choosing?"),
        (["tests.probes.tasks.add"], "'tests.probes.tasks.add' is an ordinary Celery task, not a job"),
        (["--queue", "", "probe"], "--queue: '' cannot be used: it is empty"),
        (["--queue", "_kombu.x", "probe"], "--queue: '_kombu.x' cannot be used: it is reserved by Celery"),
    ],
)
def test_nothing_is_sent_for_an_unknown_job_or_to_a_queue_that_cannot_be_used(
    worker: None, broker: Broker, words: list[str], problem: str
) -> None:
    done = call(*words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert problem in done.stderr
    assert (broker.messages, Run.objects.count()) == ([], 0)


def test_a_call_can_name_its_queue(broker: Broker) -> None:
    start_worker("reports")
    assert call("--queue", "reports", "probe").stderr == ""
    assert Run.objects.get().routing == {"queue": "reports"}
    assert broker.messages[0].properties["routing_key"] == "reports"


@pytest.mark.parametrize("queues", [(), ("reports",)])
def test_a_queue_that_no_worker_reads_is_mentioned(broker: Broker, queues: tuple[str, ...]) -> None:
    start_worker(*queues)
    done = call("probe")
    assert (done.exit_code, len(broker.messages)) == (0, 1)
    assert "No running worker reads the queue “celery”. The run stays queued until one does." in done.stderr


def test_workers_that_do_not_know_the_job_yet_are_mentioned(broker: Broker) -> None:
    start_worker("celery", version="0.1+other")
    done = call("probe")
    assert (done.exit_code, len(broker.messages)) == (0, 1)
    assert (
        "The running workers have other code: restart them if the job is new or was changed." in done.stderr
    )
    ServiceProcess.objects.update(name="celery@there")
    start_worker("celery")
    assert call("probe").stderr == ""


def test_a_worker_that_takes_no_jobs_does_not_count(broker: Broker) -> None:
    start_worker("celery", capacity=0)
    assert "No running worker reads the queue “celery”." in call("probe").stderr


def test_without_redis_the_run_is_recorded_and_sent_later(worker: None, broker: Broker) -> None:
    broker.is_down = True
    done = call("probe")
    run = Run.objects.get()
    assert (done.exit_code, done.stdout, run.status) == (0, f"{run.pk}\n", Status.QUEUED)
    assert "Redis is not available. The run is recorded; beat will send it when Redis is back." in done.stderr
    broker.is_down = False
    assert run.publish_after is not None
    publisher.publish_due(run.publish_after)
    assert [message.task_id for message in broker.messages] == [str(run.pk)]


def test_a_message_that_the_broker_rejects_is_an_error(
    worker: None, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(run: Run, producer: object) -> None:
        raise ValueError("no such exchange")

    monkeypatch.setattr(publisher, "_send", send)
    done = call("probe")
    run = Run.objects.get()
    assert (done.exit_code, run.status) == (1, Status.FAILED)
    assert done.stdout == f"{run.pk}\n"
    assert "no such exchange" in done.stderr


def test_a_job_that_is_running_and_must_not_overlap_is_skipped_on_record(
    worker: None, broker: Broker
) -> None:
    holder = create_run(status=Status.RUNNING, concurrency_key="probe", started_at=timezone.now())
    done = call("probe")
    run = Run.objects.get(status=Status.SKIPPED)
    assert (done.exit_code, done.stdout, run.exit_code) == (75, f"{run.pk}\n", 75)
    assert "was still running" in done.stderr
    assert run.reason_details["run"] == str(holder.pk)
    assert broker.messages == []


@pytest.mark.parametrize(
    ("job", "waiting", "status"),
    [("queueing", 0, Status.QUEUED), ("queueing", 1, Status.SKIPPED), ("replacing", 1, Status.QUEUED)],
)
def test_a_run_that_may_wait_for_its_turn_is_sent(
    worker: None, job: str, waiting: int, status: Status
) -> None:
    statuses = [Status.RUNNING, *[Status.QUEUED] * waiting]
    before = [create_run(job=job, concurrency_key=job, status=each, started_at=NOON) for each in statuses]
    call(job)
    assert Run.objects.exclude(pk__in=[run.pk for run in before]).get().status == status


def test_with_json_it_prints_the_run(worker: None) -> None:
    run = json.loads(call("--json", "choosing", "--pin", "4711").stdout)
    assert (run["id"], run["status"]) == (str(Run.objects.get().pk), "queued")
    assert run["options"] == {"pin": "********"}


def test_waiting_prints_the_output_and_exits_as_the_run_does(working: None) -> None:
    done = call("--wait", "probe", "one", "--warn", "careful", "--fail", "no luck", "--returncode", "4")
    assert (done.exit_code, done.stdout) == (4, "one\n")
    assert "careful\n" in done.stderr
    assert "failed: no luck\n" in done.stderr


def test_waiting_for_a_run_that_succeeds_ends_with_success(working: None) -> None:
    assert call("--wait", "probe", "one").exit_code == 0


def test_waiting_prints_the_output_also_of_a_run_that_has_ended_by_then(
    worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue = dispatch.enqueue

    def execute_at_once(request: dispatch.RunRequest, *, run_id: UUID) -> Run:
        run = enqueue(request, run_id=run_id)
        # A worker does not see it earlier.
        transaction.on_commit(lambda: runner.execute(run.pk, worker="celery@here:1"))
        return run

    monkeypatch.setattr(dispatch, "enqueue", execute_at_once)
    done = call("--wait", "probe", "one", "--warn", "careful", "--exit", "3")
    assert (done.exit_code, str(Run.objects.get().pk) in done.stdout) == (3, False)
    assert "careful" in done.stdout + done.stderr


def test_waiting_with_json_prints_the_run_when_it_has_ended(working: None) -> None:
    done = call("--wait", "--json", "probe", "one", "--exit", "3")
    run = json.loads(done.stdout)
    assert (done.exit_code, run["status"], run["exit_code"]) == (3, "failed", 3)


@pytest.mark.parametrize("flags", [["--wait"], ["--wait", "--json"]])
def test_an_interrupt_while_waiting_leaves_the_run_alone(
    worker: None, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    done = call(*flags, "probe")
    run = Run.objects.get()
    assert (done.exit_code, run.status, run.cancel_requested_at) == (130, Status.QUEUED, None)
    assert "the run continues" in done.stderr
    assert done.stdout == "" or json.loads(done.stdout)["id"] == str(run.pk)


def test_the_jobs_help_has_its_own_options_and_no_others(
    worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for words in ["--help"], ["-h"], ["--level", "2", "--help"]:
        text = call("probe", *words).stdout
        assert text.startswith(
            "usage: manage.py jobledger call [--queue NAME] [--wait] [--json] probe [--level {1,2,3}]"
        )
        assert "Do what the options say." in text
        assert "Raise CommandError with this text." in text
        assert "--settings" not in text
        assert "--allow-overlap" not in text
    assert Run.objects.count() == 0


def test_what_looks_like_help_may_be_a_value(worker: None) -> None:
    assert call("probe", "--", "--help").exit_code == 0
    assert Run.objects.get().options == {"words": ["--help"]}


def test_options_that_only_a_worker_can_validate_are_mentioned(worker: None) -> None:
    done = call("exporting", "--to", "no/such/file")
    assert (done.exit_code, Run.objects.count()) == (0, 1)
    assert "to could not be validated here: it names a file of the worker. The worker will" in done.stderr
