"""The processes that a job has started end with it, and no others."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from multiprocessing.synchronize import Event
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from django.core.management import call_command

from jobledger.models import Reason, Run, Why
from jobledger.runs.execution import runner
from jobledger.runs.lease.interrupts import JobCancelled
from jobledger.runs.processes import multiprocessing_internals, process_tree
from jobledger.runs.processes.process_tree import RUN_ID_VARIABLE, ProcessTree
from tests.probes.management.commands.probe import Command
from tests.waiting import DEADLINE_SECONDS, wait_until

SLEEP = ("sleep", "600")
IGNORES_SIGTERM = "trap '' TERM; echo; sleep 600 & wait; wait"

_tracker: Any = resource_tracker._resource_tracker

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that do not outlive the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **options: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command or SLEEP, stdout=subprocess.PIPE, **options))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tree, "TERMINATE_SECONDS", 0.5)


def tree(run_id: UUID | None = None, *, is_nested: bool = False) -> ProcessTree:
    return ProcessTree(run_id or uuid4(), is_nested=is_nested)


def wait_for_command(process: subprocess.Popen[bytes]) -> None:
    """The kernel lets ``Popen`` return a little before it has set the name and the command line."""
    wait_until(lambda: psutil.Process(process.pid).cmdline(), what="the process has its command line")


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_process_is_asked_to_end(start: Start) -> None:
    job = tree()
    process = start()
    assert job.end() == []
    assert job.was_needed
    # Already reaped, so its exit code is lost.
    assert is_gone(process.pid)


def test_the_log_names_the_processes_without_their_arguments(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", process_tree.__name__)
    job = tree()
    process = start("sh", "-c", "sleep 600; exit", "s3cret")
    wait_for_command(process)
    job.end()
    assert f"{process.pid} (sh)" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_process_that_ignores_it_is_killed_with_its_children(start: Start) -> None:
    job = tree()
    shell = start("sh", "-c", IGNORES_SIGTERM)
    assert shell.stdout
    shell.stdout.readline()
    (child,) = wait_until(lambda: psutil.Process(shell.pid).children())
    job.end()
    wait_until(lambda: is_gone(shell.pid) and is_gone(child.pid), what="both are gone")


def test_a_process_that_is_stopped_ends_too(start: Start) -> None:
    job = tree()
    process = start()
    process.send_signal(signal.SIGSTOP)
    job.terminate()
    assert process.wait(30) == -signal.SIGTERM


def test_processes_that_were_there_before_the_job_are_left_alone(start: Start) -> None:
    process = start()
    job = tree()
    job.end()
    job.kill()
    assert not job.was_needed
    assert process.poll() is None


def test_a_process_with_a_session_of_its_own_is_left_alone_and_named(start: Start) -> None:
    job = tree()
    # A shell's further arguments have no meaning to it.
    daemon = start(
        "sh", "-c", "read line", "--password=abcdef", stdin=subprocess.PIPE, start_new_session=True
    )
    wait_for_command(daemon)
    (left,) = job.end()
    assert (left.pid, left.name) == (daemon.pid, "sh -c read line --password=********")
    assert not job.was_needed
    assert daemon.poll() is None


def test_the_environment_has_the_runs_id_during_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN_ID_VARIABLE, raising=False)
    outer, inner = uuid4(), uuid4()
    with process_tree.process_tree(outer, is_nested=False):
        with process_tree.process_tree(inner, is_nested=True):
            assert os.environ[RUN_ID_VARIABLE] == str(inner)
        assert os.environ[RUN_ID_VARIABLE] == str(outer)
    assert RUN_ID_VARIABLE not in os.environ


def test_an_orphan_is_recognized_by_its_environment() -> None:
    with process_tree.process_tree(uuid4(), is_nested=False, adopts=False) as job:
        script = "sleep 600 >/dev/null 2>&1 & echo $!"
        orphan = int(subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout)
        job.end()
    wait_until(lambda: is_gone(orphan), what="the orphan is gone")


def test_a_job_that_another_one_calls_ends_only_its_own_processes(start: Start) -> None:
    outer, inner = uuid4(), uuid4()
    job = tree(inner, is_nested=True)
    others = start(env={**os.environ, RUN_ID_VARIABLE: str(outer)})
    own = start(env={**os.environ, RUN_ID_VARIABLE: str(inner)})
    job.end()
    assert is_gone(own.pid)
    assert others.poll() is None


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_processes_that_end_with_a_job_are_logged_unless_it_was_interrupted(
    is_interrupted: bool, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job, process = tree(), start(*SLEEP)
    wait_for_command(process)
    if is_interrupted:
        job.terminate()
    job.end()
    assert ("has left: " in caplog.text, f"{process.pid} (sleep)" in caplog.text) == (not is_interrupted,) * 2


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_helpers_of_multiprocessing_that_end_with_a_job_are_not_logged(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _tracker._stop()
    context: Any = multiprocessing.get_context(method)
    job, child = tree(), context.Process(target=int)
    child.start()
    child.join()
    job.end()
    assert (job.was_needed, caplog.text) == (True, "")


def test_a_process_that_a_job_forks_ends_at_sigterm() -> None:
    handler = signal.signal(signal.SIGTERM, lambda *args: None)
    try:
        with process_tree.process_tree(uuid4(), is_nested=False):
            context = multiprocessing.get_context("fork")
            is_running = context.Event()
            child = context.Process(target=pause, args=[is_running])
            child.start()
            assert is_running.wait(30)
            child.terminate()
            child.join()
        assert child.exitcode == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, handler)


def pause(is_running: Event) -> None:
    is_running.set()
    signal.pause()


def test_a_pool_that_was_left_running_does_not_replace_its_processes() -> None:
    job = tree()
    pool = multiprocessing.get_context("fork").Pool(1)
    (pid,) = pool.map(own_pid, [0])
    job.end()
    assert is_gone(pid)
    assert multiprocessing.active_children() == []
    pool.terminate()
    pool.join()


def own_pid(number: int) -> int:
    return os.getpid()


def test_a_pool_whose_processes_were_killed_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing_internals._util, "_run_finalizers", lambda minimum: signal.pause())
    multiprocessing_internals.end_pools(within_seconds=0.01)


def test_shared_memory_that_was_left_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tree, "TERMINATE_SECONDS", DEADLINE_SECONDS)
    _tracker._stop()
    for _ in range(2):
        job = tree()
        left = SharedMemory(create=True, size=8)
        left.close()
        job.end()
        with pytest.raises(FileNotFoundError):
            SharedMemory(left.name)


def test_the_resource_tracker_of_a_library_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib has its own, which ignores SIGTERM, too, and must not be killed before it has removed all."""
    monkeypatch.setattr(process_tree, "TERMINATE_SECONDS", DEADLINE_SECONDS)
    module: Any = ModuleType("library.resource_tracker")
    module._resource_tracker = type("ResourceTracker", (resource_tracker.ResourceTracker,), {})()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    job = tree()
    module._resource_tracker.ensure_running()
    job.end()
    assert module._resource_tracker._pid is None


# Jobs on the command line.


@pytest.mark.django_db
def test_on_the_command_line_a_job_that_ends_by_itself_may_leave_processes(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(Command, "handle", lambda *args, **options: started.append(start()))
    call_command("probe")
    assert started[0].poll() is None


@pytest.mark.django_db
def test_on_the_command_line_the_processes_of_a_cancelled_job_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def handle(self: Command, *args: object, **options: object) -> None:
        started.append(start())
        started.append(start(start_new_session=True))
        assert self.run
        raise JobCancelled(Why.of(Reason.USER, user="ann"), run_id=self.run.pk)

    monkeypatch.setattr(Command, "handle", handle)
    with pytest.raises(JobCancelled):
        call_command("probe")
    process, daemon = started
    assert is_gone(process.pid)
    assert daemon.poll() is None
    assert Run.objects.get().left_behind == [{"pid": daemon.pid, "name": "sleep 600"}]


@pytest.mark.django_db
def test_in_a_worker_the_processes_of_every_job_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(Command, "handle", lambda *args, **options: started.append(start()))
    run = Run.objects.create(job="probe", trigger="celery")
    ended = runner.execute(run.pk, worker="w")
    assert ended
    assert ended.run.status == "succeeded"
    assert is_gone(started[0].pid)


def test_a_silent_job_costs_no_look_at_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    job = tree()
    monkeypatch.setattr(psutil, "Process", lambda *args: pytest.fail("looked at a process"))
    assert job.end() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_a_process_can_adopt_orphans() -> None:
    # In a process of its own, since it does so for the rest of its life.
    script = """
import os, signal, subprocess
from jobledger.runs.processes import process_tree
process_tree.adopt_orphans()
subprocess.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 &"])
tree = process_tree.direct_children()
for pid in tree:
    os.kill(pid, signal.SIGTERM)
assert len(tree) == 1, tree
"""
    preamble = "import django; django.setup()\n"
    subprocess.run([sys.executable, "-c", preamble + script], check=True)
