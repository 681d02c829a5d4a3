"""A process of one's own is awaited, its end is known exactly, and it does not outlive its parent."""

import ast
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID, uuid4

import psutil
import pytest
from pytest_django import Settings

from jobledger.formats import MEGABYTE
from jobledger.models import Reason, Status
from jobledger.runs.execution import isolation
from jobledger.runs.execution.isolation import Ending, forked, outcome_of_death
from jobledger.runs.lease.exit_signals import EXIT_SIGNALS
from jobledger.runs.limits import Limits
from jobledger.runs.outcome import SignalExit
from jobledger.runs.output import salvage
from jobledger.runs.processes import oom
from tests.unit.builders import override
from tests.waiting import wait_until

LIMIT = timedelta(minutes=5)
LIMITS = Limits(time_limit=LIMIT, grace=timedelta(seconds=30))


def outcome_of(work: Callable[[], Any]) -> tuple[str, str | None, int | None, str]:
    outcome = outcome_of_death(forked(work), limits=LIMITS)
    return outcome.status, outcome.why.reason, outcome.exit_code, outcome.exit_signal


def kill(signum: signal.Signals) -> NoReturn:
    os.kill(os.getpid(), signum)
    signal.pause()
    raise AssertionError


def test_the_result_is_reported() -> None:
    ending = forked(lambda: "last line äöü")
    assert (ending.report, ending.exit_code, ending.exit_signal) == ("last line äöü", 0, "")


def test_the_result_may_be_empty() -> None:
    assert forked(lambda: "").report == ""


def test_the_work_is_done_by_another_process() -> None:
    assert forked(lambda: f"{os.getppid()}").report == str(os.getpid())


@pytest.mark.parametrize(
    ("signum", "exit_code"), [(signal.SIGKILL, 137), (signal.SIGSEGV, 139), (signal.SIGABRT, 134)]
)
def test_a_death_by_signal_is_a_failure_that_names_the_signal(signum: signal.Signals, exit_code: int) -> None:
    assert outcome_of(lambda: kill(signum)) == ("failed", Reason.SIGNAL, exit_code, signum.name)


def test_a_crash_in_c_code_shows_where_it_happened(capfd: pytest.CaptureFixture[str]) -> None:
    def crash() -> str:
        return str(ctypes.string_at(0))

    assert outcome_of(crash) == ("failed", Reason.SIGNAL, 139, "SIGSEGV")
    shown = capfd.readouterr().err
    assert "Fatal Python error: Segmentation fault" in shown
    assert f"in {crash.__name__}" in shown


@pytest.mark.parametrize("signum", EXIT_SIGNALS)
def test_a_signal_raises_an_exception_so_that_the_work_can_clean_up(signum: signal.Signals) -> None:
    def be_told_to_end() -> str:
        try:
            kill(signum)
        except SignalExit as error:
            return f"cleaned up: {error.signal}"

    assert forked(be_told_to_end).report == f"cleaned up: {signum.name}"


def test_an_immediate_exit_succeeds_or_fails_by_its_code() -> None:
    assert outcome_of(lambda: os._exit(0)) == ("succeeded", None, 0, "")
    assert outcome_of(lambda: os._exit(7)) == ("failed", Reason.EXIT_CODE, 7, "")


def test_an_unexpected_error_is_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    assert outcome_of(lambda: 1 / 0) == ("failed", Reason.EXIT_CODE, os.EX_SOFTWARE, "")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_process_that_takes_too_long_is_killed() -> None:
    ending = forked(signal.pause, within=timedelta(seconds=0.1))  # type: ignore[arg-type]  # returns nothing
    assert (ending.report, ending.timed_out) == (None, True)
    outcome = outcome_of_death(ending, limits=LIMITS)
    assert (outcome.status, outcome.exit_code, outcome.exit_signal) == (Status.TIMED_OUT, 124, "SIGKILL")
    assert outcome.why.details == {"limit_seconds": 300.0, "killed_by": "worker"}


def test_a_process_may_take_longer_than_the_kernel_waits_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert forked(lambda: "in time", within=timedelta(days=1000)).report == "in time"
    monkeypatch.setattr(isolation, "_MAX_POLL_MILLISECONDS", 1)
    ending = forked(lambda: str(sum(range(10**6))), within=LIMIT)
    assert (ending.report, ending.timed_out) == ("499999500000", False)


def test_a_process_that_only_waits_for_the_database_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, asked = uuid4(), list[UUID]()

    def has_outcome(pk: UUID) -> bool:
        asked.append(pk)
        # The database is back.
        os.write(back, b"1")
        return True

    reading, back = os.pipe()
    monkeypatch.setattr(salvage, "has_outcome", has_outcome)
    ending = forked(lambda: os.read(reading, 1).decode(), within=timedelta(0), run_id=run_id)
    assert (ending.report, ending.timed_out, asked) == ("1", False, [run_id])
    for each in reading, back:
        os.close(each)


def test_a_process_that_ends_in_time_is_not_killed() -> None:
    ending = forked(lambda: "in time", within=LIMIT)
    assert (ending.report, ending.timed_out) == ("in time", False)


def test_a_process_killed_by_the_kernel_ran_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_oom_kills", oom.KillCounter())
    counts = iter([3, 4])
    monkeypatch.setattr(oom, "kills", lambda: next(counts))
    assert outcome_of(lambda: kill(signal.SIGKILL)) == ("failed", Reason.OUT_OF_MEMORY, 137, "SIGKILL")


def test_what_a_killed_process_has_used_is_known() -> None:
    def use() -> NoReturn:
        kept = b"x" * (128 * MEGABYTE)
        sum(range(2_000_000))
        kill(signal.SIGKILL)
        raise AssertionError(kept)

    usage = forked(use).usage
    assert usage.peak_memory_bytes is not None
    assert usage.peak_memory_bytes >= 128 * MEGABYTE
    assert usage.cpu_seconds > 0


def test_a_process_that_was_left_behind_does_not_delay_the_end() -> None:
    def leave() -> str:
        if os.fork() == 0:
            signal.pause()
        left = psutil.Process().children()
        return f"{left[0].pid}"

    ending = forked(leave)
    assert ending.report
    os.kill(int(ending.report), signal.SIGKILL)


def test_the_process_ends_with_its_parent_even_if_that_is_killed() -> None:
    code = """
import os, signal
from jobledger.runs.execution import isolation
def work():
    print(os.getpid(), flush=True)
    signal.pause()
isolation.forked(work)
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    setup = "import django; django.setup()"
    with subprocess.Popen(
        [sys.executable, "-c", f"{setup}\n{code}"], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not psutil.pid_exists(pid), what="it has ended")


def test_a_process_with_another_thread_is_not_forked() -> None:
    code = """
import threading
from jobledger.runs.execution.isolation import is_fork_safe
print(is_fork_safe())
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(is_fork_safe())
"""
    assert printed_by(code) == ["True", "False"]


def printed_by(code: str) -> list[str]:
    """The words that this code prints in a process of its own."""
    setup = "import django; django.setup()"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-c", f"{setup}\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.split()


def test_the_thread_that_has_read_the_output_of_other_runs_does_not_keep_a_process_from_being_forked() -> (
    None
):
    code = """
from uuid import uuid4
from jobledger.models import Run
from jobledger.runs.execution.isolation import in_own_process, is_fork_safe
from jobledger.runs.output import reader
from jobledger.runs.output.capture import of_worker
reader.keep()
for _ in range(20):
    with of_worker(Run()) as captured:
        captured.end()
    print(is_fork_safe(), in_own_process(uuid4(), lambda: "forked", within=None).report)
"""
    assert printed_by(code) == ["False", "forked"] * 20


def test_an_exit_code_above_128_is_that_of_the_signal() -> None:
    ending = Ending(report=None, status=signal.SIGTERM, pid=7, usage=forked(str).usage)
    assert (ending.exit_code, ending.exit_signal) == (143, "SIGTERM")


def test_all_that_a_new_interpreter_imports_and_calls_is_there() -> None:
    tree = ast.parse(
        isolation.LAUNCH.format(path=[], mailbox=None, lifeline=[], run_id="", parent=0, report_to=0)
    )
    names: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            exec(ast.unparse(statement), names)
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "runner.execute_in_fresh_process" in called
    assert all(callable(eval(each, names)) for each in called)


SLOW = """
import os, time
while not os.path.exists({{go!r}}):
    time.sleep(0.01)
os.write({report_to}, b"begun\\n")
while not os.path.exists({{end!r}}):
    time.sleep(0.01)
os.write({report_to}, b"ended\\ndone")
# {path} {run_id} {mailbox} {lifeline} {parent}
"""


def test_a_lease_is_renewed_until_a_new_interpreter_has_begun(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go, end = tmp_path / "go", tmp_path / "end"
    override(settings, HEARTBEAT_SECONDS=0.01)
    monkeypatch.setattr(
        isolation, "LAUNCH", SLOW.replace("{{go!r}}", repr(str(go))).replace("{{end!r}}", repr(str(end)))
    )
    renewals: list[bool] = []

    def renew() -> None:
        renewals.append(go.exists())
        if len(renewals) == 3:
            go.touch()

    def is_renewed() -> bool:
        return any(thread.name == "lease of an isolated run" for thread in threading.enumerate())

    def let_end() -> None:
        wait_until(lambda: go.exists() and not is_renewed(), what="it is not renewed any more")
        end.touch()

    assert isolation.started(uuid4(), beside=let_end, renew=renew).report == "done"
    assert renewals[:3] == [False] * 3


def test_a_lease_is_not_renewed_for_a_new_interpreter_that_hangs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    override(settings, HEARTBEAT_SECONDS=0.01)
    monkeypatch.setattr(isolation, "LAUNCH", "import signal; signal.pause()")
    monkeypatch.setattr(isolation, "START_SECONDS", 0)
    renewals: list[None] = []
    ending = isolation.started(uuid4(), within=timedelta(seconds=0.2), renew=lambda: renewals.append(None))
    assert (ending.timed_out, renewals) == (True, [])
