"""A run is executed once: it is claimed, its command is called, and its end is recorded."""

import asyncio
import errno
import gc
import os
import resource
import sys
import threading
import time
import uuid
from datetime import timedelta
from typing import Any, Never

import pytest
from django.db import InternalError, OperationalError
from django.utils import timezone
from pytest_django import Settings

from jobledger.formats import MEGABYTE
from jobledger.models import Run, RunOutput, Status, Trigger
from jobledger.runs import attempts
from jobledger.runs.execution import claims, runner
from jobledger.runs.output.capture import of_call
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.processes import announcements, billiard_internals, shared_process
from jobledger.runs.processes.resources import memory_of_this_process, trim
from tests.probes.management.commands.probe import Command
from tests.unit.builders import NOON, invalid_choice, override

pytestmark = pytest.mark.django_db


def queued(job: str = "probe", **options: Any) -> Run:
    return Run.objects.create(job=job, options=options, trigger=Trigger.CELERY)


def test_a_queued_run_is_executed_and_finished() -> None:
    ended = runner.execute(queued(words=["hello"]).pk, worker="celery@here")
    assert ended is not None
    assert (ended.run.status, ended.run.exit_code, ended.run.worker) == ("succeeded", 0, "celery@here")
    assert ended.run.started_at
    assert ended.run.finished_at
    assert ended.last_line == "hello"
    assert RunOutput.objects.get(run=ended.run).text == "hello\n"


def test_a_run_records_what_it_has_used() -> None:
    ended = runner.execute(queued().pk, worker="w")
    assert ended is not None
    assert ended.run.peak_memory_bytes
    assert ended.run.cpu_seconds
    assert ended.run.exit_signal == ""


def test_a_run_that_exceeds_its_memory_limit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Command, "memory_limit", "64 MB")
    monkeypatch.setattr(Command, "handle", lambda *args, **options: _allocate(megabytes=2000))
    ended = runner.execute(queued().pk, worker="w")
    assert ended is not None
    run = ended.run
    assert (run.status, run.reason, run.exit_code) == ("failed", "memory_limit", 137)
    assert run.reason_details["limit_bytes"] == 64 * MEGABYTE
    assert run.peak_memory_bytes is not None
    assert run.peak_memory_bytes >= run.reason_details["used_bytes"] > 64 * MEGABYTE


def _allocate(*, megabytes: int) -> None:
    """Slowly, so that the other threads get a chance."""
    kept = []
    for _ in range(megabytes):
        kept.append(b"x" * MEGABYTE)
        time.sleep(0.001)


def test_the_memory_of_a_job_that_was_interrupted_goes_back_to_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = iter([1, 100_000])

    def handle(*args: Any, **options: Any) -> None:
        kept = [b"%1000d" % number for number in range(next(sizes))]
        while kept:
            time.sleep(0.01)

    monkeypatch.setattr(Command, "time_limit", timedelta(seconds=0.5))
    monkeypatch.setattr(Command, "handle", handle)
    runner.execute(queued().pk, worker="w")  # so that all is imported
    trim()
    before = memory_of_this_process()
    ended = runner.execute(queued().pk, worker="w")
    after = memory_of_this_process()
    assert ended is not None
    assert (ended.run.status, ended.run.exit_code) == ("timed_out", 124)
    assert after <= before + 32 * MEGABYTE


def test_an_invalid_memory_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Command, "memory_limit", 5)
    ended = runner.execute(queued().pk, worker="w")
    assert ended is not None
    assert ended.run.status == "succeeded"


def test_a_run_ends_once_its_threads_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    later = threading.Timer(0.05, lambda: print("from a thread"))
    monkeypatch.setattr(Command, "handle", lambda *args, **options: later.start())
    ended = runner.execute(queued().pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.last_line) == ("succeeded", "from a thread")
    assert RunOutput.objects.get(run=ended.run).text == "from a thread\n"


def test_a_threads_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait, name="waiting")
    monkeypatch.setattr(Command, "time_limit", timedelta(seconds=0.2))
    monkeypatch.setattr(Command, "handle", lambda *args, **options: thread.start())
    ended = runner.execute(queued().pk, worker="w")
    may_end.set()
    thread.join()
    assert ended is not None
    assert ended.run.status == "timed_out"


def test_a_run_whose_limits_cannot_be_enforced_fails_and_the_next_one_is_not_affected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, before = threading.Thread.start, sys.stdout

    def fail(thread: threading.Thread) -> None:
        if thread.name.startswith("timer"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(Command, "time_limit", timedelta(hours=1))
    monkeypatch.setattr(threading.Thread, "start", fail)
    ended = runner.execute(queued().pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.error) == ("failed", "RuntimeError: can't start new thread")
    assert (runner.current_run(), sys.stdout) == (None, before)


@pytest.mark.parametrize("step", ["no_terminal", "_prepared"])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "OSError: [Errno 24] Too many open files"),
        (SystemExit(0), ""),
    ],
)
def test_a_run_that_its_process_cannot_begin_fails_and_the_process_is_replaced(
    step: str, error: BaseException, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tasks may have used up what the process may open."""

    def fail(*args: object, **options: object) -> Never:
        raise error

    replaced: list[bool] = []
    monkeypatch.setattr(billiard_internals, "exit_after_this_task", lambda: replaced.append(True))
    monkeypatch.setattr(runner, step, fail)
    ended = runner.execute(queued().pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.error) == ("failed", text)
    assert replaced == [True]


def test_inside_a_transaction_that_no_other_process_sees_a_run_is_not_isolated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pids: list[int] = []
    monkeypatch.setattr(Command, "isolate", True)
    monkeypatch.setattr(Command, "handle", lambda *args, **options: pids.append(os.getpid()))
    ended = runner.execute(queued().pk, worker="w")
    assert ended is not None
    assert (ended.run.status, pids) == ("succeeded", [os.getpid()])


def test_the_command_does_not_create_a_second_run() -> None:
    runner.execute(queued().pk, worker="w")
    assert Run.objects.count() == 1


def test_a_run_is_claimed_once() -> None:
    run = queued()
    assert claims.claim(run.pk, worker="first") is not None
    assert claims.claim(run.pk, worker="second") is None
    assert Run.objects.get().worker == "first"


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.QUEUED])
def test_a_run_that_is_not_queued_is_not_executed(status: Status) -> None:
    run = Run.objects.create(job="probe", options={"words": ["x"]}, status=status, trigger=Trigger.CELERY)
    assert runner.execute(run.pk, worker="w") is None
    assert not RunOutput.objects.exists()


def test_a_run_past_its_starting_deadline_is_not_executed() -> None:
    run = queued()
    Run.objects.update(start_before=timezone.now())
    assert runner.execute(run.pk, worker="w") is None
    assert Run.objects.get().status == Status.QUEUED


def test_a_run_before_its_starting_deadline_is_executed() -> None:
    run = queued()
    Run.objects.update(start_before=timezone.now() + timedelta(minutes=1))
    assert runner.execute(run.pk, worker="w") is not None


def test_a_run_that_does_not_exist_is_not_executed() -> None:
    assert runner.execute(uuid.uuid4(), worker="w") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 9}, f"argument --level: {invalid_choice(9)}"),
        ({"level": "high"}, "argument --level: invalid int value: 'high'"),
        ({"lvel": 1}, "lvel"),
        ({"settings": "evil.settings"}, "settings"),
        ({"pythonpath": "/tmp"}, "pythonpath"),
    ],
)
def test_bad_options_fail_the_run_with_the_parsers_message(options: dict[str, Any], message: str) -> None:
    ended = runner.execute(queued(**options).pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.exit_code) == ("failed", 2)
    assert message in ended.run.error
    assert ended.run.traceback == ""


def test_a_validation_error_fails_the_run_without_calling_the_command() -> None:
    ended = runner.execute(queued(words=["x"]).pk, worker="w", validation_error="not like this")
    assert ended is not None
    assert (ended.run.status, ended.run.error, ended.last_line) == ("failed", "not like this", "")


@pytest.mark.parametrize(
    ("options", "status", "exit_code", "reason", "error"),
    [
        ({"fail": "no", "returncode": 5}, "failed", 5, "command_error", "no"),
        ({"crash": "boom"}, "failed", 1, "exception", "RuntimeError: boom"),
        ({"exit": 3}, "failed", 3, "exit_code", ""),
        ({"exit": -1}, "failed", 255, "exit_code", ""),
        ({"exit": 300}, "failed", 44, "exit_code", ""),
        ({"exit": 0}, "succeeded", 0, "", ""),
    ],
)
def test_an_exception_of_the_command_is_recorded_on_the_run(
    options: dict[str, Any], status: str, exit_code: int, reason: str, error: str
) -> None:
    ended = runner.execute(queued(**options).pk, worker="w")
    assert ended is not None
    run = ended.run
    assert (run.status, run.exit_code, run.reason, run.error) == (status, exit_code, reason, error)


def test_output_before_a_failure_is_kept() -> None:
    ended = runner.execute(queued(words=["working"], crash="boom").pk, worker="w")
    assert ended is not None
    assert RunOutput.objects.get(run=ended.run).text == "working\n"


def test_a_run_of_an_unknown_job_fails_and_lists_the_existing_jobs() -> None:
    ended = runner.execute(queued(job="gone").pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.reason, ended.run.traceback) == ("failed", "unknown_job", "")
    assert "There is no job 'gone'. Existing jobs: " in ended.run.error


def test_an_exposed_plain_command_is_executed_like_a_job() -> None:
    ended = runner.execute(queued(job="plain_probe").pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.last_line) == ("succeeded", "plain")


def test_the_run_of_a_job_called_by_an_exposed_command_is_its_child() -> None:
    parent = queued(job="plain_probe", call_job=True)
    runner.execute(parent.pk, worker="w")
    assert Run.objects.get(parent=parent).job == "probe"


def test_nul_characters_in_output_and_error_are_made_readable() -> None:
    ended = runner.execute(queued(nul=True).pk, worker="w")
    assert ended is not None
    assert RunOutput.objects.get(run=ended.run).text == "a␀b\n"
    assert ended.run.error == "c␀d"


def test_a_run_that_no_longer_belongs_to_this_process_keeps_its_new_state() -> None:
    run = claims.claim(queued().pk, worker="w")
    assert run is not None
    with runner.recorded(run, of_call(OutputRecorder(1000))):
        Run.objects.filter(pk=run.pk).update(status=Status.LOST)
    run.refresh_from_db()
    assert (run.status, run.finished_at) == ("lost", None)


def test_a_run_whose_row_is_deleted_while_it_runs_is_not_created_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def delete_the_row(command: Command, *args: Any, **options: Any) -> None:
        Run.objects.all().delete()

    monkeypatch.setattr(Command, "handle", delete_the_row)
    assert runner.execute(queued().pk, worker="w") is None
    assert "ended as succeeded, but no longer belonged to this process" in caplog.text


def test_the_error_of_a_run_does_not_reveal_its_secrets() -> None:
    ended = runner.execute(queued("choosing", api_key="hunter2").pk, worker="w")
    assert ended is not None
    assert ended.run.error == "The key '********' was refused."


def test_a_validation_error_does_not_reveal_secrets() -> None:
    ended = runner.execute(queued("choosing", api_key=["hunter2"]).pk, worker="w")
    assert ended is not None
    assert "api_key: expected" in ended.run.error
    assert "hunter2" not in ended.run.error


# Inside a transaction, nothing is retried.
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "error", [OperationalError("server closed the connection"), InternalError("read-only transaction")]
)
def test_if_recording_the_end_succeeds_on_the_second_attempt_nothing_is_missing(
    error: Exception, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    override(settings, HEARTBEAT_SECONDS=0.01, RUN_OUTPUT_LIMIT_BYTES=100)
    end, errors = attempts.end, [error]

    def fail_once(run: Run, *args: Any) -> bool:
        if errors:
            Run.objects.filter(pk=run.pk).update(heartbeat_at=NOON)
            raise errors.pop()
        # The lease is renewed in the meantime.
        assert Run.objects.filter(pk=run.pk, heartbeat_at__gt=NOON).exists()
        return end(run, *args)

    monkeypatch.setattr(attempts, "end", fail_once)
    ended = runner.execute(queued(words=["head", "x" * 1000, "tail"]).pk, worker="w")
    assert ended is not None
    assert ended.run.status == "succeeded"
    output = "".join(RunOutput.objects.filter(run=ended.run).in_order().values_list("text", flat=True))
    assert output.startswith("head\nxx")
    assert output.endswith("xx\ntail\n")
    assert output.count("bytes omitted") == 1


def test_a_run_whose_job_leaves_an_event_loop_running_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(Command, "handle", lambda *args, **options: asyncio._set_running_loop(loop))
    try:
        ended = runner.execute(queued().pk, worker="w")
    finally:
        asyncio._set_running_loop(None)
        loop.close()
    assert ended is not None
    assert ended.run.status == "succeeded"


def test_the_limits_that_a_job_has_set_do_not_apply_while_its_end_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = (20, hard)
    monkeypatch.setattr(
        Command, "handle", lambda *args, **options: resource.setrlimit(resource.RLIMIT_NOFILE, few)
    )
    end, found = attempts.end, []

    def end_and_look(*args: Any) -> bool:
        found.append(resource.getrlimit(resource.RLIMIT_NOFILE))
        return end(*args)

    monkeypatch.setattr(attempts, "end", end_and_look)
    runner.execute(queued().pk, worker="w")
    assert found == [before]


def test_a_child_that_cannot_record_the_end_of_its_run_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> bool:
        raise RuntimeError

    replaced: list[bool] = []
    monkeypatch.setattr(billiard_internals, "exit_after_this_task", lambda: replaced.append(True))
    monkeypatch.setattr(attempts, "end", fail)
    runner.execute(queued().pk, worker="w")
    assert replaced == [True]


@pytest.mark.parametrize(
    ("job", "alone", "beside_others"),
    [("probe", False, False), ("isolated", True, True), ("allocating", False, True)],
)
def test_a_memory_limit_needs_a_process_where_other_jobs_share_one(
    monkeypatch: pytest.MonkeyPatch, job: str, alone: bool, beside_others: bool
) -> None:
    run = Run(job=job)
    assert runner._needs_process(run) is alone
    monkeypatch.setattr(shared_process, "is_shared", lambda: True)
    assert runner._needs_process(run) is beside_others


@pytest.mark.parametrize("options", [{"words": ["hello"]}, {"crash": "boom"}, {"unknown": 1}])
@pytest.mark.parametrize("time_limit", [None, timedelta(hours=1)])
def test_nothing_of_a_run_is_left_to_the_garbage_collector(
    options: dict[str, Any], time_limit: timedelta | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look for it takes longer than to free it, and each run would leave more."""
    monkeypatch.setattr(Command, "time_limit", time_limit)
    runner.execute(queued(**options).pk, worker="w")  # so that all is imported
    run_id = queued(**options).pk
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        runner.execute(run_id, worker="w")
        gc.collect()
        left = {type(each) for each in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert [each.__qualname__ for each in left if each.__module__.startswith("jobledger.runs.")] == []


def test_a_run_is_announced_once_its_job_is_over_and_before_its_end_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker may then fetch the next message."""
    announced: list[tuple[uuid.UUID, int, str]] = []

    def announce(run_id: uuid.UUID, attempt: int) -> None:
        announced.append((run_id, attempt, Run.objects.get(pk=run_id).status))

    monkeypatch.setattr(announcements, "announce", announce)
    run = queued(words=["hello"])
    Run.objects.update(attempt=3)
    runner.execute(run.pk, worker="w")
    assert announced == [(run.pk, 3, "running")]


def test_a_run_whose_process_is_replaced_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[uuid.UUID] = []
    monkeypatch.setattr(announcements, "announce", lambda run_id, attempt: announced.append(run_id))
    may_end = threading.Event()
    left = threading.Thread(target=may_end.wait, daemon=True)
    monkeypatch.setattr(Command, "handle", lambda *args, **options: left.start())
    runner.execute(queued().pk, worker="w")
    may_end.set()
    left.join()
    assert announced == []


def test_a_job_that_a_job_calls_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[uuid.UUID] = []
    monkeypatch.setattr(announcements, "announce", lambda run_id, attempt: announced.append(run_id))
    parent = queued("plain_probe", call_job=True)
    runner.execute(parent.pk, worker="w")
    assert Run.objects.filter(parent=parent).exists()
    assert announced == [parent.pk]
