"""The end of a run is recorded, whatever ends it."""

import io
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from unittest.mock import Mock

import pytest
from django.core.management import call_command
from django.db import OperationalError
from pytest_django import Settings

from jobledger.models import Reason, Run, RunOutput, Trigger, Why
from jobledger.runs import attempts, overlap
from jobledger.runs.execution import abrupt_ends, runner
from jobledger.runs.execution.run_end import RunEnd
from jobledger.runs.execution.threads import Threads
from jobledger.runs.lease import interrupts
from jobledger.runs.lease.interrupts import JobCancelled
from jobledger.runs.processes.leftovers import Leftover
from jobledger.runs.processes.process_tree import ProcessTree
from tests.probes.management.commands import choosing
from tests.probes.management.commands.probe import Command
from tests.unit.builders import override


def test_the_heartbeat_has_stopped_before_the_end_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both write under the same lock, so a heartbeat could not stop during the other's write."""
    steps: list[str] = []
    heartbeat, log = Mock(), Mock(last_error_line="")
    heartbeat.stop.side_effect = lambda: steps.append("stopped")
    monkeypatch.setattr(abrupt_ends, "write", lambda record: steps.append("written"))
    end = RunEnd(
        run=Run(job="probe"),
        captured=Mock(),
        taken_over=True,
        log=log,
        heartbeat=heartbeat,
        interrupter=Mock(),
        tree=Mock(),
        meter=Mock(usage=lambda: None),
        traits=Mock(),
        of_caller=frozenset(),
    )
    end.record_exit(SystemExit(3))
    assert steps == ["stopped", "written"]


# It says when it waits.
CLEANS_UP = """
import signal, sys
def clean_up(*args):
    print("cleaned up")
    sys.exit()
signal.signal(signal.SIGTERM, clean_up)
print(file=sys.stderr, flush=True)
signal.pause()
"""


def executed(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> Run:
    monkeypatch.setattr(Command, "handle", lambda *args, **options: work())
    run = Run.objects.create(job="probe", trigger=Trigger.CELERY)
    runner.execute(run.pk, worker="w")
    return run


def output_of(run: Run) -> str:
    return "".join(each.text for each in RunOutput.objects.filter(run=run).order_by("number"))


def cancel_this_run() -> None:
    run, interrupter = runner.current_run(), interrupts.of_this_thread()
    assert run is not None
    assert interrupter is not None
    interrupter.interrupt(JobCancelled(Why.of(Reason.USER, user="ann"), run_id=run.pk))


def terminate_this_process() -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("end", "expected"), [(cancel_this_run, "cancelled: user"), (terminate_this_process, "failed: signal")]
)
@pytest.mark.parametrize("has_cause", [True, False])
def test_an_error_of_its_cleanup_is_in_the_output_and_does_not_replace_what_has_ended_a_job(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[], None], expected: str, *, has_cause: bool
) -> None:
    def work() -> None:
        try:
            end()
        except (JobCancelled, SystemExit) as error:
            raise ValueError("not cleaned up") from error if has_cause else None

    run = executed(monkeypatch, work)
    run.refresh_from_db()
    assert f"{run.status}: {run.reason}" == expected
    assert "As the job was ended, it raised an error:\nTraceback" in output_of(run)
    assert "ValueError: not cleaned up\n" in output_of(run)


@pytest.mark.django_db
def test_secrets_in_such_an_error_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(*args: object, **options: object) -> None:
        try:
            terminate_this_process()
        finally:
            raise ValueError(f"not {options['api_key']}")

    monkeypatch.setattr(choosing.Command, "handle", handle)
    run = Run.objects.create(job="choosing", options={"api_key": "hunter2"}, trigger=Trigger.CELERY)
    runner.execute(run.pk, worker="w")
    assert "ValueError: not ********\n" in output_of(run)


@pytest.mark.django_db
def test_a_job_that_has_caught_what_was_to_end_it_fails_with_what_it_raises_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> None:
        with suppress(SystemExit):
            terminate_this_process()
        raise ValueError("later")

    run = executed(monkeypatch, work)
    run.refresh_from_db()
    assert (run.reason, run.error) == ("exception", "ValueError: later")


def executed_with_inner(monkeypatch: pytest.MonkeyPatch, inner: Callable[[], None]) -> Run:
    """The run of a job that calls a job, which does this; it ends what it is in."""

    def handle(command: Command, *args: object, **options: object) -> None:
        if command.run is not None and command.run.parent_id is not None:
            inner()
        call_command("probe", stdout=io.StringIO(), stderr=io.StringIO())

    monkeypatch.setattr(Command, "handle", handle)
    run = Run.objects.create(job="probe", trigger=Trigger.CELERY)
    runner.execute(run.pk, worker="w")
    run.refresh_from_db()
    return run


@pytest.mark.django_db
def test_a_job_fails_with_its_own_error_if_only_a_job_that_it_has_called_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = executed_with_inner(monkeypatch, cancel_this_run)
    assert (run.status, run.reason, run.error) == ("failed", "command_error", "probe: Cancelled by ann.")
    assert Run.objects.get(parent=run).status == "cancelled"
    assert "As the job was ended" not in output_of(run)


@pytest.mark.django_db
def test_the_end_of_the_outer_job_is_that_of_the_job_that_it_has_called_too_even_if_that_raises_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def inner() -> None:
        outer = Run.objects.get(parent=None)
        try:
            raise JobCancelled(Why.of(Reason.USER, user="ann"), run_id=outer.pk)
        finally:
            raise ValueError("not cleaned up")

    executed_with_inner(monkeypatch, inner)
    assert set(Run.objects.values_list("status", flat=True)) == {"cancelled"}


@pytest.mark.django_db
def test_what_the_jobs_processes_write_when_they_are_asked_to_end_is_on_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = list[subprocess.Popen[bytes]]()

    def start() -> None:
        process = subprocess.Popen([sys.executable, "-c", CLEANS_UP], stderr=subprocess.PIPE)
        started.append(process)
        assert process.stderr
        with process.stderr:
            process.stderr.readline()

    assert output_of(executed(monkeypatch, start)) == "cleaned up\n"
    started[0].wait()


@pytest.mark.django_db
def test_what_a_daemon_thread_prints_until_the_run_ends_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    may_print = threading.Event()

    def print_and_go_on() -> None:
        may_print.wait()
        print("printed")

    def left(self: Threads) -> list[Leftover]:
        may_print.set()
        thread.join()
        return []

    thread = threading.Thread(target=print_and_go_on, daemon=True)
    monkeypatch.setattr(Threads, "left", left)
    assert output_of(executed(monkeypatch, thread.start)) == "printed\n"


@pytest.mark.django_db
def test_the_last_line_that_a_subprocess_has_written_to_stderr_explains_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        subprocess.run("echo because >&2", shell=True, check=True)
        raise SystemExit(3)

    run = executed(monkeypatch, fail)
    run.refresh_from_db()
    assert (run.exit_code, run.error) == (3, "because")


@pytest.mark.django_db
def test_the_streams_of_the_process_are_back_even_if_ending_its_processes_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(self: ProcessTree) -> list[Leftover]:
        raise RuntimeError("unexpected")

    before = sys.stdout
    monkeypatch.setattr(ProcessTree, "end", end)
    executed(monkeypatch, lambda: None)
    assert sys.stdout is before


@pytest.mark.django_db
def test_what_the_service_logs_while_it_ends_the_jobs_processes_is_in_the_workers_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the job has done to logging."""
    levels = list[int]()
    end_all = ProcessTree.end

    def end(tree: ProcessTree) -> list[Leftover]:
        levels.append(logging.getLogger("jobledger").level)
        return end_all(tree)

    monkeypatch.setattr(ProcessTree, "end", end)
    before = logging.getLogger("jobledger").level
    executed(monkeypatch, lambda: logging.getLogger("jobledger").setLevel(logging.CRITICAL + 1))
    assert levels == [before]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_retried", [False, True])
def test_an_end_that_was_recorded_without_an_answer_is_no_error_and_wakes_who_waits_for_it(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_retried: bool,
) -> None:
    override(settings, HEARTBEAT_SECONDS=0.001)
    monkeypatch.setattr(Command, "max_retries", 1)
    woken = list[str]()

    def end() -> None:
        if is_retried:
            raise OSError

    def lose_the_answer(real: Callable[..., bool], *args: object) -> bool:
        ended = real(*args)
        if ended:
            raise OperationalError("server closed the connection unexpectedly")
        return ended

    monkeypatch.setattr(overlap, "wake", lambda key, **kwargs: woken.append(key))
    monkeypatch.setattr(attempts, "end", partial(lose_the_answer, attempts.end))
    run = executed(monkeypatch, end)
    run.refresh_from_db()
    assert (run.status, run.attempt) == (("queued", 2) if is_retried else ("succeeded", 1))
    assert woken == ["probe"] * 2
    assert "no longer belonged to this process" not in caplog.text
