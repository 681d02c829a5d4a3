"""The processes of jobs whose worker child has died: the worker's main process adopts and ends them.

A child ends the processes of its jobs itself, unless it is killed. So whatever the main process adopts while
it has not started it itself belongs to a dead child's job.
"""

import os
import signal
import time
from contextlib import suppress

import psutil
from billiard.process import active_children
from celery.signals import worker_process_init, worker_ready

from jobledger.runs.processes import multiprocessing_internals, process_tree, shared_process
from jobledger.runs.processes.process_tree import Processes
from jobledger.runs.service.pulse import pulse

DEATH_SECONDS = 5.0
POLL_SECONDS = 0.05

_own: set[int] = set()
"""The main process's children that it has started besides the pool's."""


def connect() -> None:
    """Adopt orphans in the worker's main process and in its children."""
    worker_ready.connect(_main_is_ready, dispatch_uid="jobledger.orphans.main")
    pulse.connect(_reap, dispatch_uid="jobledger.orphans.reap")
    worker_process_init.connect(_child_starts, dispatch_uid="jobledger.orphans.child")


def kill_child(pid: object) -> None:
    """Kill a child that does not respond, and wait until its processes have been adopted."""
    child = next((each.pid for each in active_children() if each.pid == pid), None)
    if child is not None:
        os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + DEATH_SECONDS
        while not _has_ended(child) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def adopted() -> Processes:
    """The orphans. To be called in the main thread, which starts the children: a new one is not an orphan."""
    found: Processes = set()
    for pid in _adopted():
        with suppress(psutil.NoSuchProcess):
            orphan = psutil.Process(pid)
            found |= {orphan, *orphan.children(recursive=True)}
    return found


def end(orphans: Processes) -> Processes:
    """End the processes of a dead child, except daemons, which are returned."""
    daemons = {orphan for orphan in orphans if process_tree.is_daemon(orphan)}
    process_tree.end_all(lambda: {each for each in orphans - daemons if each.is_running()})
    return daemons


def _adopted() -> set[int]:
    return process_tree.direct_children() - {child.pid for child in active_children()} - _own


def _reap(**kwargs: object) -> None:
    """Daemons of earlier jobs may have ended."""
    if shared_process.is_shared():
        return  # these are children of jobs, which wait for them
    for pid in _adopted():
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _has_ended(pid: int) -> bool:
    """Whether a child has ended with all its threads; its main thread may be a zombie long before.

    Only then have its processes been adopted.
    """
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _main_is_ready(**kwargs: object) -> None:
    if shared_process.is_shared():
        return  # it could not tell an orphan from what a job has started
    process_tree.adopt_orphans()
    _own.update(_adopted())


def _child_starts(**kwargs: object) -> None:
    process_tree.adopt_orphans()
    multiprocessing_internals.allow_children()
