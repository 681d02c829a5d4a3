"""The thread that reads a run's pipes, and calls back from time to time.

A worker's child keeps it from one run to the next, since starting and joining a thread for each would take
half as long again as all else that captures a silent job. A run that is short and silent does not wake it:

- It waits for an epoll, to which the run's own one is added, and from which that is removed before the run's
  pipes are closed. It asks the run's own one what was written. So whatever has woken it, and however late it
  gets its turn, it receives nothing of a run that has ended.
- While runs follow each other, it looks every ``TICK_SECONDS`` whether a callback is due, which is in time
  for any run that has begun meanwhile. Once none has begun, it waits without a limit, and the next run wakes
  it. A run does not set a timer, because that would be one more descriptor: after a job that closes all of
  them, there would be no callback.

Everywhere else, it ends with its run: no thread must be left in a process that may fork. For the same reason,
a worker's child ends it before it forks for an isolated run, and before it executes a task that is no job.
"""

import math
import os
import select
import threading
import time
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from typing import Any, Protocol

from celery.signals import task_prerun, worker_process_init

from jobledger.jobs import registry
from jobledger.runs.output.opened import Opened

TICK_SECONDS = 0.05
END_SECONDS = 1.0
"""How long the kernel may take to end a thread that has returned. Its last steps take microseconds."""


class Source(Protocol):
    """What is to be read for a run."""

    def fileno(self) -> int:
        """Of an epoll, which is ready once something has been written."""

    def serve(self) -> float:
        """Receive what was written, and call back if it is time; returns the time of the next callback."""


class Reader:
    """A thread that serves one source at a time."""

    def __init__(self) -> None:
        """Raises OSError or RuntimeError if the process is at one of its limits."""
        self._opened = list[Opened]()
        self._turn = threading.Lock()
        """Held while the source is served or changed."""
        self._source: Source | None = None
        self._has_ended = False
        self._look_at, self._has_begun = time.monotonic(), True
        try:
            # Unlike an eventfd, a pipe can be told from any other one.
            self._woken, self._wake = os.pipe()
            self._opened += [Opened(self._woken), Opened(self._wake)]
            self._events = select.epoll()
            self._opened.append(Opened(self._events.fileno(), self._events.close))
            os.set_blocking(self._woken, False)
            self._events.register(self._woken, select.EPOLLIN)
            self.thread = threading.Thread(target=self._work, name="output of the job", daemon=True)
            # Nothing of the run that it is started for.
            Context().run(self.thread.start)
        except (OSError, RuntimeError):
            self._close()
            raise

    @property
    def is_serving(self) -> bool:
        """Whether it has a source."""
        return self._source is not None

    def is_idle(self) -> bool:
        """Whether it can serve a source."""
        return not self.is_serving and self.thread.is_alive() and self.is_ours()

    def is_ours(self) -> bool:
        """Whether nobody has closed its descriptors."""
        return all(each.is_ours() for each in self._opened)

    def begin(self, source: Source) -> None:
        """Serve the source from now on. Raises OSError, and changes nothing, if that cannot be watched."""
        with self._turn:
            # Edge-triggered: if the job has closed its pipes, nobody reads them.
            self._events.register(source.fileno(), select.EPOLLIN | select.EPOLLET)
            self._source, self._has_begun = source, True
            looks_in_time = self._look_at <= time.monotonic() + TICK_SECONDS
        if not looks_in_time:
            os.write(self._wake, b"!")

    def end_source(self) -> None:
        """Serve it no more; if that is happening just now, wait for it."""
        with self._turn:
            if self._source is not None:
                self._events.unregister(self._source.fileno())
            self._source = None

    def end(self) -> None:
        """End the thread, and wait for that."""
        with self._turn:
            self._source, self._has_ended = None, True
        os.write(self._wake, b"!")
        self.thread.join()
        self._close()

    def leave(self) -> None:
        """End the thread when it wakes up, if it ever does: a job has closed its descriptors."""
        with self._turn:
            self._source, self._has_ended = None, True
        for each in self._opened:
            each.leave()

    def _close(self) -> None:
        for each in self._opened:
            each.close()

    def _work(self) -> None:
        while not self._has_ended:
            self._wait()
            with self._turn:
                if not self._has_ended:
                    self._look()

    def _wait(self) -> None:
        seconds = None if self._look_at == math.inf else max(0.0, self._look_at - time.monotonic())
        # As soon as a job has closed all descriptors, their numbers may belong to others.
        if self.is_ours():
            # It may close them just now.
            with suppress(OSError, ValueError):
                if (self._woken, select.EPOLLIN) in self._events.poll(seconds):
                    os.read(self._woken, 1)
        elif seconds is not None:
            time.sleep(seconds)
        else:
            self._has_ended = True

    def _look(self) -> None:
        """Do what there is to do, and decide when to look again at the latest."""
        if self._source is not None:
            self._look_at = self._source.serve()
        else:
            self._look_at = time.monotonic() + TICK_SECONDS if self._has_begun else math.inf
        self._has_begun = False


class _Kept:
    """The thread that this process keeps."""

    reader: Reader | None = None
    by = 0
    """The process that keeps it; not one that a job has forked."""


_kept = _Kept()


def connect() -> None:
    """From now on, children of a worker keep their thread."""
    worker_process_init.connect(keep, dispatch_uid="jobledger.reader.keep")
    task_prerun.connect(_task_begins, dispatch_uid="jobledger.reader.task")


def keep(**kwargs: object) -> None:
    """From now on, this process keeps its thread from one run to the next."""
    _kept.by, _kept.reader = os.getpid(), None


def reading(source: Source) -> Reader:
    """A thread that serves the source, until ``release``.

    Raises OSError or RuntimeError, and changes nothing, if the process is at one of its limits.
    """
    is_keeping = _kept.by == os.getpid()
    if is_keeping and _kept.reader is not None and not _kept.reader.is_idle():
        _end(_kept.reader)
        _kept.reader = None
    reader = _kept.reader if is_keeping and _kept.reader is not None else Reader()
    try:
        reader.begin(source)
    except OSError:
        if reader is not _kept.reader:
            reader.end()
        raise
    if is_keeping:
        _kept.reader = reader
    return reader


def release(reader: Reader) -> None:
    """Serve the source no more. When this returns, nothing more of it is received, and nothing called."""
    reader.end_source()
    if reader is not _kept.reader:
        reader.end()


def abandon(reader: Reader) -> None:
    """The same if the job has closed some or all descriptors. The thread is not kept."""
    if reader is _kept.reader:
        _kept.reader = None
    _end(reader)


def end_kept() -> None:
    """End the thread that this process keeps, unless it is in use; the next run starts another one."""
    reader = _kept.reader if _kept.by == os.getpid() else None
    if reader is not None and not reader.is_serving:
        _kept.reader = None
        _end(reader)


def _end(reader: Reader) -> None:
    if not reader.is_ours():
        reader.leave()
        return
    reader.end()
    # The kernel has it for a moment after Python has joined it.
    task = Path(f"/proc/self/task/{reader.thread.native_id}")
    deadline = time.monotonic() + END_SECONDS
    while task.exists() and time.monotonic() < deadline:
        time.sleep(0.0001)


def _task_begins(sender: Any = None, **kwargs: object) -> None:
    """A task that is no job may fork, and finds the process as it would be without runs."""
    if _kept.reader is not None and registry.of_task(sender.name) is None:
        end_kept()
