"""The private parts of Python's processes and threads that this package uses. No other module touches them.

A comment on each use says what the public API lacks. Tests fail if a Python release changes any of them.
"""

import multiprocessing
import multiprocessing.context
import os
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import thread as executor_threads
from multiprocessing import forkserver, process, resource_tracker, util
from typing import Any

END_OF_POOLS = "end of pools"
"""The name of a thread, which may go on forever."""

_process: Any = process
_executor_threads: Any = executor_threads
_util: Any = util
_default_context: Any = multiprocessing.context._default_context  # noqa: SLF001 - see start_method
_fork_server: Any = forkserver._forkserver  # noqa: SLF001 - see is_helper


def allow_children() -> None:
    """Let this process, a worker's child, use multiprocessing as any other process does.

    billiard makes its own process object known to multiprocessing as the current one: a daemonic one, which
    may not have children, with a key of a type that cannot be sent to children that are not forked.
    """
    current = process.BaseProcess(name=multiprocessing.current_process().name, daemon=False)
    current.authkey = os.urandom(32)
    _process._current_process = current  # noqa: SLF001 - no public function sets it


def start_method() -> Any:
    """The context that was chosen or used without a choice; None if any may still be chosen."""
    return _default_context._actual_context  # noqa: SLF001 - the public function only tells its name


def set_start_method(context: Any) -> None:
    """Have this be the context again."""
    _default_context._actual_context = context  # noqa: SLF001 - the public function accepts no context


def is_child() -> bool:
    """Whether multiprocessing has started this process, which may still be importing the modules it needs."""
    # The parent is only known after the imports.
    is_importing = getattr(process.current_process(), "_inheriting", False)
    return is_importing or process.parent_process() is not None


def end_pools(*, within_seconds: float) -> None:
    """Shut down pools and managers that were left running, as at a process's end.

    A pool whose processes are merely killed would replace them.
    """
    # In a thread, since a pool whose processes were killed may never shut down.
    thread = threading.Thread(target=_util._run_finalizers, args=[0], name=END_OF_POOLS, daemon=True)  # noqa: SLF001 - only atexit calls it
    thread.start()
    thread.join(within_seconds)


def children_to_wait_for() -> list[process.BaseProcess]:
    """The child processes that this process waits for when it exits: all but those that it ends then."""
    ended = _of_executors() | _of_managers()
    return [each for each in multiprocessing.active_children() if not (each.daemon or each.pid in ended)]


def _of_executors() -> set[int]:
    # Of the threads that manage an executor's processes. Nothing public tells whose a process is.
    return {pid for thread in threading.enumerate() for pid in getattr(thread, "processes", None) or ()}


def _of_managers() -> set[int]:
    ends = list(_util._finalizer_registry.values())  # noqa: SLF001 - as above
    # By its name, since importing managers takes time.
    ends = [each for each in ends if getattr(each._callback, "__name__", "") == "_finalize_manager"]  # noqa: SLF001 - as above
    return {each._args[0].pid for each in ends}  # noqa: SLF001 - as above


def is_helper(pid: int) -> bool:
    """Whether this is a process that multiprocessing has started for itself, and keeps for later."""
    trackers = [each._pid for each in _trackers()]  # noqa: SLF001 - nothing public tells
    return pid in (*trackers, _fork_server._forkserver_pid)  # noqa: SLF001 - as above


def let_trackers_end(pids: Iterable[int]) -> None:
    """Have the resource trackers among these remove what was left, such as shared memory, and end.

    They ignore SIGTERM, and end when nobody can write to their pipe any more. Others are started if needed.
    """
    for tracker in _trackers():
        with tracker._lock:  # noqa: SLF001 - no public function ends it
            if tracker._fd is not None and tracker._pid in pids:  # noqa: SLF001 - as above
                os.close(tracker._fd)  # noqa: SLF001 - as above
                tracker._fd = tracker._pid = None  # noqa: SLF001 - as above


def _trackers() -> list[Any]:
    """Python's own, and those of libraries such as joblib, which are made from it, or copies."""
    modules = [module for name, module in list(sys.modules.items()) if name.endswith(".resource_tracker")]
    found = [getattr(module, "_resource_tracker", None) for module in modules]
    return [each for each in found if type(each).__name__ == resource_tracker.ResourceTracker.__name__]


def is_idle(thread: threading.Thread) -> bool:
    """Whether this is the thread of an executor that has nothing to do.

    asgiref, among others, keeps such a thread for later, and an executor that was not shut down keeps some.
    """
    # The thread that manages an executor's processes. Nothing public tells what an executor still has to do.
    if (of_processes := getattr(thread, "pending_work_items", None)) is not None:
        return not of_processes
    work = _executor_threads._threads_queues.get(thread)  # noqa: SLF001 - see above
    if work is None or not work.empty():
        return False
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the only way to see another thread
    return frame is not None and frame.f_code is _executor_threads._worker.__code__  # noqa: SLF001 - where it waits
