"""A worker's child has a process group of its own, which bounds a job's signals, and ends with the worker."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.waiting import wait_until

WORKER = """
import os, signal, subprocess, sys, time
from jobledger.runs.processes import process_group

def child(number):
    {before}
    process_group.leave()
    {job}
    time.sleep(600)

main = os.getpid()
process_group._lifeline.open()
for number in range(2):
    if (pid := os.fork()) == 0:
        child(number)
    print(pid, flush=True)
time.sleep(600)
"""
SLEEPING = "subprocess.Popen(['sleep', '600'])"
STUCK = "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"


Worker = tuple[psutil.Process, list[int]]


@contextmanager
def worker(job: str, before: str = "") -> Iterator[Worker]:
    """A process and its two children; each of them executes the job in a group of its own, and goes on."""
    code = WORKER.format(job=job, before=before)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        children = [int(process.stdout.readline()) for _ in range(2)]
        try:
            yield psutil.Process(process.pid), children
        finally:
            process.kill()
            for each in children:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)


def groups_of(pids: Iterable[int]) -> set[int]:
    groups = set[int]()
    for each in pids:
        # A process that leaves its group has one more for a moment, which makes the new one.
        with suppress(ProcessLookupError):
            groups.add(os.getpgid(each))
    return groups


def grandchildren_with_a_group(process: psutil.Process, children: list[int]) -> list[int]:
    """Empty until each of them has left the group of its parent."""
    found = [each.pid for each in process.children(recursive=True) if each.pid not in children]
    own = groups_of(found) - groups_of([process.pid, *children])
    return found if len(own) == len(children) else []


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("job", [SLEEPING, f"{SLEEPING}; {STUCK}", f"os.setpgrp(); {SLEEPING}; {STUCK}"])
def test_nothing_is_left_of_a_worker_whose_main_process_is_killed(job: str) -> None:
    with worker(job) as (process, children):
        wait_until(lambda: len(process.children(recursive=True)) == 4, what="the jobs have begun")
        sleeping = {each.pid for each in process.children(recursive=True)} - set(children)
        process.kill()
        wait_until(lambda: all(map(is_gone, children)), what="the children are gone")
        if "setpgrp" not in job:
            wait_until(lambda: all(map(is_gone, sleeping)), what="their processes are gone")
        for each in sleeping:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def test_each_child_has_a_group_of_its_own_which_it_does_not_lead() -> None:
    with worker("") as (_, children):
        wait_until(lambda: len(groups_of(children) - {os.getpgrp()}) == 2, what="each has left the group")
        assert not groups_of(children) & set(children)


@pytest.mark.parametrize("kill", ["os.killpg(0, signal.SIGKILL)", "os.system('kill -9 0')"])
def test_a_job_that_signals_its_group_reaches_neither_the_worker_nor_another_child(kill: str) -> None:
    with worker(f"number == 0 and {kill}") as (process, (first, second)):
        wait_until(lambda: is_gone(first), what="it has ended itself")
        assert process.status() != psutil.STATUS_ZOMBIE
        assert not is_gone(second)


def test_a_job_can_make_a_session_of_its_own() -> None:
    with worker("os.setsid()") as (_, children):
        wait_until(lambda: {os.getsid(each) for each in children} == set(children), what="each has a session")


def test_a_child_whose_worker_was_killed_before_it_had_a_group_ends_at_once() -> None:
    with worker("", before="while os.getppid() == main: time.sleep(0.01)") as (process, children):
        process.kill()
        wait_until(lambda: all(map(is_gone, children)), what="they have ended")


def test_in_a_process_started_for_a_run_the_lifeline_still_holds() -> None:
    job = """subprocess.Popen(
        [sys.executable, "-c", "import time; from jobledger.runs.processes import process_group as group;"
        f"group.adopt({process_group.own_descriptors()}); group.leave(); time.sleep(600)"],
        pass_fds=process_group.own_descriptors(),
    )"""
    with worker(job) as (process, children):
        started = wait_until(lambda: grandchildren_with_a_group(process, children), what="they have a group")
        process.kill()
        wait_until(lambda: all(map(is_gone, started)), what="they have ended")


def test_outside_a_worker_the_group_stays_as_it_is() -> None:
    code = (
        "import os; from jobledger.runs.processes import process_group as g; g.leave(); print(os.getpgrp())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == os.getpgrp()
