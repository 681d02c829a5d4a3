"""The processes that a job starts, which end with it: first they are asked to (SIGTERM), then killed.

The processes of a worker's child are those below it: the child is a *subreaper*, so it adopts a process whose
parent has ended, and the worker's main process, which is one as well, adopts those of a child that has died.
A command on the command line adopts nothing, because it should behave as it does without this service. There,
and for a job that another job calls, the processes are recognized by ``JOBLEDGER_RUN_ID`` in their
environment. Where other jobs share the process (``shared_process``), a job's processes are those that its
threads have started, and those below them; an orphan is not found, unless its run had a process of its own.

A process in a session of its own (``setsid``), such as a daemon, is meant to outlive whoever started it: it
is left alone.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import psutil

from jobledger.escapes import line_logger
from jobledger.jobs import secrets
from jobledger.runs.processes import job_threads, multiprocessing_internals
from jobledger.runs.processes.forks import children_end_at_sigterm
from jobledger.runs.processes.leftovers import Leftover

logger = line_logger(__name__)

RUN_ID_VARIABLE = "JOBLEDGER_RUN_ID"
TERMINATE_SECONDS = 5.0
"""How long a process may take to end when it is asked to."""
KILL_SECONDS = 5.0
POOL_SECONDS = 1.0
POLL_SECONDS = 0.1
PR_SET_CHILD_SUBREAPER = 36

Processes = set[psutil.Process]


def adopt_orphans() -> None:
    """Become the parent of any descendant whose parent ends. Only possible on Linux; not inherited."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def direct_children() -> set[int]:
    """The ids of this process's children, including ended ones that have not been reaped."""
    found: set[int] = set()
    try:
        # A single call, and usually the answer. Not on every system.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return found
    except (AttributeError, OSError):
        pass
    try:
        # Each thread has a list of its own. This takes microseconds; psutil reads the state of every process.
        for thread in Path("/proc/self/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found.update(map(int, (thread / "children").read_text().split()))
    except OSError:
        found.update(child.pid for child in psutil.Process().children())
    return found


class ProcessTree:
    """The processes that the current job has started since this object was created."""

    def __init__(
        self,
        run_id: UUID,
        *,
        is_nested: bool,
        adopts: bool = True,
        children: Callable[[], set[int]] = direct_children,
        is_shared: bool = False,
    ) -> None:
        """``is_nested`` for a job that another job calls, whose processes are not all its own.

        ``adopts`` unless orphans have to be searched for, which takes some milliseconds. ``children`` finds
        what the job has started itself; ``is_shared`` if other jobs do so in the same process.
        """
        self._children, self._is_shared = children, is_shared
        self._run_id = run_id
        self._is_nested = is_nested
        self._adopts = adopts and sys.platform == "linux"
        self._before = children()
        self._was_interrupted = False
        """Whether the job was to end before its time, and its processes with it."""
        self.was_needed = False
        """Whether the job has left any processes that had to be ended."""

    def terminate(self) -> None:
        """Ask the processes to end, since the job is to end."""
        self._was_interrupted = True
        with suppress(psutil.Error, OSError):
            _signal(self._own(), signal.SIGTERM)

    def kill(self) -> None:
        with suppress(psutil.Error, OSError):
            _signal(self._own(), signal.SIGKILL)

    def end(self) -> list[Leftover]:
        """Terminate the processes, then kill what remains; returns those that are left: daemons, mostly."""
        try:
            return as_leftovers(self._end())
        except (psutil.Error, OSError) as error:
            logger.warning("Could not end the processes of run %s: %s", self._run_id, error)
        except (KeyboardInterrupt, SystemExit):
            # An impatient user, or a supervisor.
            self.kill()
        return []

    def _end(self) -> Processes:
        found = self._all()
        own = {process for process in found if not is_daemon(process)}
        if not own:
            return found
        self.was_needed = True
        self._log_end_of(own)
        if not self._is_shared:
            multiprocessing_internals.end_pools(within_seconds=POOL_SECONDS)
            multiprocessing_internals.let_trackers_end([process.pid for process in own])
        end_all(self._own)
        return self._all()

    def _log_end_of(self, processes: Processes) -> None:
        """Without an interrupt, nothing else says why they have ended."""
        left = {process for process in processes if not multiprocessing_internals.is_helper(process.pid)}
        if left and not self._was_interrupted:
            logger.info("Ending the processes that run %s has left: %s", self._run_id, _names(left))

    def _own(self) -> Processes:
        return {process for process in self._all() if not is_daemon(process)}

    def _all(self) -> Processes:
        if self._is_nested:
            return self._marked()
        return self._descendants() if self._adopts else self._descendants() | self._marked()

    def _descendants(self) -> Processes:
        found: Processes = set()
        for pid in self._children() - self._before:
            with suppress(psutil.NoSuchProcess):
                child = psutil.Process(pid)
                found |= {child, *child.children(recursive=True)}
        return found

    def _marked(self) -> Processes:
        return {process for process in psutil.process_iter() if run_id_of(process) == str(self._run_id)}


@contextmanager
def process_tree(run_id: UUID, *, is_nested: bool, adopts: bool = True) -> Iterator[ProcessTree]:
    """The tree of the job that is executed in the block; its processes have the run's id.

    Where other jobs share the process, and its environment, they have not.
    """
    if (threads := job_threads.current()) is not None:
        with children_end_at_sigterm():
            yield ProcessTree(run_id, is_nested=False, children=threads.children, is_shared=True)
        return
    before = os.environ.get(RUN_ID_VARIABLE)
    os.environ[RUN_ID_VARIABLE] = str(run_id)
    try:
        with children_end_at_sigterm():
            yield ProcessTree(run_id, is_nested=is_nested, adopts=adopts)
    finally:
        if before is None:
            os.environ.pop(RUN_ID_VARIABLE, None)
        else:
            os.environ[RUN_ID_VARIABLE] = before


def end_all(find: Callable[[], Processes]) -> None:
    """Terminate, then kill, the processes that ``find`` returns, until there are none; reap them."""
    kill_at = time.monotonic() + TERMINATE_SECONDS
    asked: Processes = set()
    while (found := find()) and time.monotonic() < kill_at + KILL_SECONDS:
        if time.monotonic() < kill_at:
            _signal(found - asked, signal.SIGTERM)
            asked |= found
        else:
            _signal(found, signal.SIGKILL)
        # Reaps those that it knows, so that it does not wait for them forever.
        multiprocessing.active_children()
        psutil.wait_procs(found, timeout=POLL_SECONDS)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def is_daemon(process: psutil.Process) -> bool:
    """Whether the process is in a session other than this one's."""
    try:
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return not is_zombie and os.getsid(process.pid) != os.getsid(0)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def run_id_of(process: psutil.Process) -> str:
    """The run that the process was started for, according to its environment; empty if unknown."""
    try:
        return str(process.environ().get(RUN_ID_VARIABLE, ""))
    except (psutil.Error, OSError):
        return ""


def as_leftovers(processes: Iterable[psutil.Process]) -> list[Leftover]:
    """Describe processes for the run's record, with secrets masked."""
    found = []
    for process in sorted(processes, key=lambda each: each.pid):
        with suppress(psutil.NoSuchProcess):
            found.append(Leftover(pid=process.pid, name=_command(process)))
    return found


def _command(process: psutil.Process) -> str:
    try:
        words = process.cmdline() or [process.name()]
    except psutil.AccessDenied:
        words = [process.name()]
    return secrets.masked_command(words)


def _names(processes: Processes) -> str:
    """For a log: without arguments, because any of them may be a secret of the run."""
    names = []
    for process in sorted(processes, key=lambda each: each.pid):
        with suppress(psutil.Error):
            names.append(f"{process.pid} ({process.name()})")
    return ", ".join(names)


def _signal(processes: Processes, signum: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error, OSError):
            process.send_signal(signum)
            # One that is stopped cannot react otherwise.
            process.send_signal(signal.SIGCONT)
