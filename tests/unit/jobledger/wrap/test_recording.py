"""The recorder of a wrapped line: its run, output and end."""

import os
import signal
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connections
from django.utils import timezone

from jobledger import management
from jobledger.models import Alert, Run, RunOutput, Status, Trigger
from jobledger.runs import attempts, dispatch
from jobledger.runs.identity import operating_system_user
from jobledger.runs.lease import rescue
from jobledger.wrap import enclosing, naming, recording, relay
from jobledger.wrap.line import Line
from jobledger.wrap.recording import Recording
from jobledger.wrap.relay import Ending, Task
from jobledger.wrap.unsent import STDERR, STDOUT, Unsent
from tests.unit.builders import override
from tests.unit.jobledger.alerts.builders import destination, rule

pytestmark = pytest.mark.django_db

RELAY = enclosing.Process(pid=4242, started=17)


class WrappedLine:
    """A line without a relay: the test says what it writes and how it ends."""

    def __init__(self, *words: str, is_one_stream: bool = False, **options: str) -> None:
        self._output, self._channel = os.pipe()
        self._ending, self._end = os.pipe()
        line = Line(words=words, options={f"--{name}": value for name, value in options.items()})
        self._task = Task(line, RELAY, time.monotonic() - 90, self._output, self._ending, is_one_stream)

    def writes(self, mark: bytes, data: bytes) -> "WrappedLine":
        unsent = Unsent()
        unsent.add(mark, data)
        unsent.send(self._channel)
        return self

    def ends(self, status: int | None = 0) -> "WrappedLine":
        """None: its relay is killed."""
        if status is not None:
            ending = Ending(
                status=int(status), ended=time.monotonic() - 30, cpu_seconds=1.5, peak_memory_bytes=7 << 20
            )
            os.write(self._end, ending.written())
        os.close(self._end)
        os.close(self._channel)
        return self

    def recorded(self) -> Run:
        Recording(self._task).run()
        return Run.objects.get(pk=naming.run_id_of(RELAY))


def failed_with(code: int) -> int:
    return code << 8


def output_of(run: Run) -> list[tuple[str, str]]:
    return list(RunOutput.objects.filter(run=run).order_by("number").values_list("stream", "text"))


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(recording, "warn", found.append)
    return found


@pytest.fixture
def quick(settings: Any) -> None:
    override(settings, HEARTBEAT_SECONDS=0.01, LEASE_SECONDS=0.1)


@pytest.fixture
def on_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process runs a job on a wrapped line."""
    monkeypatch.setattr(enclosing, "relay", lambda: RELAY)
    arguments = ["manage.py", "jobledger", "wrap", "--", "cd /srv && python manage.py probe out"]
    monkeypatch.setattr(enclosing, "arguments_of", lambda process: arguments)
    # Django closes them at the end of a command, and with them the test's transaction.
    monkeypatch.setattr(connections, "close_all", lambda: None)


def test_a_line_that_succeeds() -> None:
    run = WrappedLine("/srv/backup.sh --all").writes(STDOUT, b"done\n").ends().recorded()
    assert (run.job, run.status, run.trigger, run.exit_code) == ("backup.sh", "succeeded", "cron", 0)
    assert output_of(run) == [("stdout", "done\n")]
    assert (run.cpu_seconds, run.peak_memory_bytes) == (1.5, 7 << 20)
    assert run.worker.endswith(":4242")
    assert run.username == operating_system_user()


def test_its_duration_is_that_of_the_line() -> None:
    run = WrappedLine("true").ends().recorded()
    assert run.started_at
    assert run.finished_at
    assert (run.finished_at - run.started_at).total_seconds() == pytest.approx(60, abs=1)


def test_a_line_that_fails_shows_its_last_error() -> None:
    line = WrappedLine("false").writes(STDERR, b"first\nno space left\n").writes(STDOUT, b"bye\n")
    run = line.ends(failed_with(3)).recorded()
    assert (run.status, run.exit_code, run.error) == ("failed", 3, "no space left")


def test_without_a_separate_stderr_the_last_line_is_the_error() -> None:
    line = WrappedLine("false", is_one_stream=True).writes(STDOUT, b"no space left\n")
    assert line.ends(failed_with(1)).recorded().error == "no space left"


def test_a_line_that_a_signal_ends() -> None:
    run = WrappedLine("sleep 9").ends(signal.SIGKILL).recorded()
    assert (run.status, run.exit_code, run.exit_signal, run.reason) == ("failed", 137, "SIGKILL", "signal")


def test_a_line_whose_relay_is_killed_is_lost() -> None:
    run = WrappedLine("sleep 9").writes(STDOUT, b"so far\n").ends(None).recorded()
    assert (run.status, run.exit_code, run.reason) == ("lost", None, "lost_process")
    assert output_of(run) == [("stdout", "so far\n")]


def test_output_that_is_no_text_is_recorded_as_far_as_it_is() -> None:
    line = WrappedLine("x").writes(STDOUT, b"\xff\x00caf\xc3").writes(STDOUT, b"\xa9\n")
    assert "caf\u00e9" in output_of(line.ends().recorded())[0][1]


def test_output_is_bounded(settings: Any) -> None:
    override(settings, RUN_OUTPUT_LIMIT_BYTES=20)
    line = WrappedLine("x").writes(STDOUT, b"0123456789" * 100)
    text = "".join(text for _, text in output_of(line.ends().recorded()))
    assert text == "0123456789\n[\u2026 980 bytes omitted \u2026]\n0123456789"


def test_what_the_relay_has_left_out_is_counted(settings: Any) -> None:
    override(settings, RUN_OUTPUT_LIMIT_BYTES=20)
    line = WrappedLine("x").writes(STDOUT, b"begin\n").writes(b"-", b"1000").writes(STDOUT, b"9876543210")
    text = "".join(text for _, text in output_of(line.ends().recorded()))
    assert text == "begin\n\n[\u2026 1,000 bytes omitted \u2026]\n9876543210"


def test_its_failure_is_told_like_that_of_a_schedule() -> None:
    rule(destination())
    run = WrappedLine("false").ends(failed_with(1)).recorded()
    assert [(alert.kind, alert.run_id) for alert in Alert.objects.all()] == [("failed", run.pk)]


def test_it_is_not_retried() -> None:
    run = WrappedLine("python manage.py restarting").ends(None).recorded()
    assert (run.job, run.status) == ("restarting", "lost")


@pytest.mark.usefixtures("quick")
def test_an_outage_at_the_end_is_waited_for(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    failures = iter([OperationalError("away"), OperationalError("locked")])
    original = attempts.end

    def end(*args: Any, **options: Any) -> bool:
        for failure in failures:
            raise failure
        return original(*args, **options)

    monkeypatch.setattr(attempts, "end", end)
    assert WrappedLine("true").ends().recorded().status == Status.SUCCEEDED
    assert warnings == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [OperationalError("no such table"), IntegrityError("never")])
def test_what_cannot_be_recorded_is_reported_to_syslog(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str], error: Exception
) -> None:
    def begin_line(*args: Any, **options: Any) -> Run:
        raise error

    monkeypatch.setattr(dispatch, "begin_line", begin_line)
    with pytest.raises(Run.DoesNotExist):
        WrappedLine("true").ends().recorded()
    assert warnings == [f"{relay.NOT_RECORDED}: {error}"]


@pytest.mark.usefixtures("quick")
def test_a_cancelled_line_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    line = WrappedLine("sleep 60")

    def end_all(find: Any) -> None:
        line.ends(signal.SIGTERM)

    monkeypatch.setattr(recording, "end_all", end_all)
    original = dispatch.begin_line

    def begin_line(*args: Any, **options: Any) -> Run:
        run = original(*args, **options)
        Run.objects.filter(pk=run.pk).update(cancel_requested_at=run.started_at, reason="user")
        return run

    monkeypatch.setattr(dispatch, "begin_line", begin_line)
    run = line.recorded()
    assert (run.status, run.reason, run.exit_signal) == ("cancelled", "user", "SIGTERM")


# A job on the line


@pytest.mark.usefixtures("on_line")
def test_a_job_on_the_line_continues_its_run() -> None:
    line = WrappedLine("python manage.py probe out").writes(STDOUT, b"out\n")
    management.execute_from_command_line(["manage.py", "probe", "out"])
    (run,) = Run.objects.all()
    assert (run.pk, run.trigger, run.status) == (naming.run_id_of(RELAY), "cron", "succeeded")
    assert run.options == {"words": ["out"]}
    assert output_of(run) == []
    assert line.ends().recorded().finished_at == run.finished_at
    (run,) = Run.objects.all()
    assert output_of(run) == [("stdout", "out\n")]
    assert (run.cpu_seconds, run.peak_memory_bytes) == (1.5, 7 << 20)


@pytest.mark.usefixtures("on_line")
@pytest.mark.parametrize("words", ["out", "out -v 0 --no-color", "--warn=x --level 2 a b", ""])
def test_the_recorder_and_the_job_read_the_same_options(words: str) -> None:
    management.execute_from_command_line(["manage.py", "probe", *words.split()])
    (run,) = Run.objects.all()
    line = Line(words=[f"python manage.py probe {words}"], options={})
    assert run.options == naming.options_of(line)


@pytest.mark.usefixtures("on_line")
def test_only_one_process_continues_it() -> None:
    for _ in range(2):
        management.execute_from_command_line(["manage.py", "probe", "out"])
    assert list(Run.objects.order_by("started_at").values_list("trigger", flat=True)) == ["cron", "cli"]


@pytest.mark.usefixtures("on_line")
def test_another_job_on_the_line_has_a_run_of_its_own() -> None:
    management.execute_from_command_line(["manage.py", "talking"])
    (run,) = Run.objects.all()
    assert (run.job, run.trigger) == ("talking", "cli")


@pytest.mark.usefixtures("on_line")
def test_a_job_that_fails_says_why_best(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        management.execute_from_command_line(["manage.py", "probe", "--fail", "too bad", "--returncode", "4"])
    line = WrappedLine("python manage.py probe").writes(STDERR, b"something else\n")
    run = line.ends(failed_with(4)).recorded()
    assert (run.status, run.exit_code, run.error, run.reason) == ("failed", 4, "too bad", "command_error")


@pytest.mark.usefixtures("on_line")
def test_a_job_that_must_not_overlap_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    Run.objects.create(
        job="probe", trigger=Trigger.CLI, status=Status.RUNNING, concurrency_key="probe", worker="elsewhere"
    )
    with pytest.raises(SystemExit) as ended:
        management.execute_from_command_line(["manage.py", "probe", "out"])
    assert ended.value.code == 75
    run = WrappedLine("python manage.py probe out").ends(failed_with(75)).recorded()
    assert (run.trigger, run.status, run.reason, run.exit_code) == ("cron", "skipped", "overlap", 75)
    assert run.started_at is None


def test_threads_do_not_remain() -> None:
    WrappedLine("true").ends().recorded()
    assert not [each for each in threading.enumerate() if each.name == "output of the line"]


def test_a_line_that_could_not_be_recorded_for_long_is_not_taken_for_lost() -> None:
    request = dispatch.RunRequest(job="x", trigger=Trigger.CRON)
    started_at = timezone.now() - timedelta(hours=1)
    run = dispatch.begin_line(naming.run_id_of(RELAY), request, worker="here", started_at=started_at)
    assert run.heartbeat_at
    assert run.started_at == run.queued_at == started_at
    assert not rescue.is_overdue(run, timezone.now())
