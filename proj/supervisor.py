"""Starts, restarts and gracefully stops the processes of the Procfile. Everything that uses honcho.

honcho has no public way to choose how a process is run, to signal a process instead of its group, or to
find out which processes have ended. So both classes access private attributes of honcho: its list of
processes, its process class, and how a process reports to its manager.
"""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType
from typing import Any

from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.process import Process

from proj.embedded_redis import answers
from proj.state import BASE_DIR, redis_socket

GRACE_SECONDS = 30.0
MIN_UPTIME_SECONDS = 10.0
RESTART_DELAY_SECONDS = 1.0
NEED_REDIS = ("worker", "beat")
MAX_REDIS_WAIT_SECONDS = 15.0
REDIS_POLL_SECONDS = 0.05


class Supervisor(Manager):  # type: ignore[misc]  # honcho has no types
    """honcho's manager with a graceful stop: it signals the processes, not their groups, and waits for them.

    honcho itself sends SIGTERM to whole process groups, which kills a Celery worker's children in the
    middle of their jobs, and kills everything five seconds later.
    """

    _stopping_since: float | None = None
    _is_killed = False

    def __init__(self, redis: Path | None = None) -> None:
        """Make honcho use restarting processes. ``redis`` is the socket of the server that it starts."""
        super().__init__()
        self._stopping = multiprocessing.Event()
        self._process_ctor = partial(RestartingProcess, stopping=self._stopping, redis=redis)

    def terminate(self) -> None:
        """Ask every process to stop. Only the first call has an effect."""
        if self._stopping_since is not None:
            return
        self._stopping_since = time.monotonic()
        self._stopping.set()
        signal.signal(signal.SIGINT, self._kill_now)
        for process in self._processes.values():
            if "pid" in process and "returncode" not in process:
                # It may have ended and not been restarted yet.
                with suppress(ProcessLookupError):
                    os.kill(process["pid"], signal.SIGTERM)

    def kill(self) -> None:
        """Kill what is still running after the grace period."""
        if self._stopping_since is None or time.monotonic() - self._stopping_since > GRACE_SECONDS:
            self._kill_once()

    def _kill_now(self, signum: int, frame: FrameType | None) -> None:
        self._kill_once()

    def _kill_once(self) -> None:
        if not self._is_killed:
            self._is_killed = True
            super().kill()


class RestartingProcess(Process):  # type: ignore[misc]  # honcho has no types
    """honcho's process, restarted when it exits, as Compose would.

    A process that exits soon after its start is not restarted, since it would fail again. Then the whole
    service stops, and its last lines say why.
    """

    def __init__(self, *args: Any, stopping: Event, redis: Path | None = None, **kwargs: Any) -> None:
        """``stopping`` is set when the service is being stopped; ``redis`` is the socket to wait for."""
        super().__init__(*args, **kwargs)
        self._stopping = stopping
        self._redis = redis if self.name in NEED_REDIS else None
        self._started_at = 0.0
        self._should_start = True

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:  # noqa: FBT001, FBT002 - honcho's
        """Run the command and forward its output, in a separate process; restart it if necessary."""
        while self._should_start:
            self._should_start = False
            self._started_at = time.monotonic()
            # honcho ignores these signals while the command runs; the command must not inherit that.
            for signum in signal.SIGINT, signal.SIGTERM:
                signal.signal(signum, _pass)
            self._wait_for_redis()
            super().run(events, ignore_signals)

    def _wait_for_redis(self) -> None:
        """Wait until the server answers; otherwise, Celery would begin its log with an error."""
        deadline = time.monotonic() + MAX_REDIS_WAIT_SECONDS
        while self._redis and not answers(self._redis) and time.monotonic() < deadline:
            if self._stopping.wait(REDIS_POLL_SECONDS):
                return

    def _send_message(self, data: Any, type: str = "line") -> None:  # noqa: A002 - honcho's name
        if type == "stop" and self._is_to_be_restarted():
            self._should_start = True
            text = f"exited (rc={data['returncode']}); restarting\n"
            super()._send_message(text.encode())
            return
        super()._send_message(data, type=type)
        if type == "start" and self._stopping.is_set():
            self._child.terminate()  # the supervisor did not know about it when it signalled the others

    def _is_to_be_restarted(self) -> bool:
        uptime = time.monotonic() - self._started_at
        return uptime >= MIN_UPTIME_SECONDS and not self._stopping.wait(RESTART_DELAY_SECONDS)


def supervise(environment: dict[str, str], *, embedded_redis: bool) -> Supervisor:
    """A supervisor for the processes of the Procfile, with or without the embedded Redis."""
    supervisor = Supervisor(redis_socket() if embedded_redis else None)
    for name, line in parse_procfile((BASE_DIR / "Procfile").read_text()).processes.items():
        if embedded_redis or name != "redis":
            supervisor.add_process(name, line, env=environment, cwd=str(BASE_DIR))
    return supervisor


def _pass(signum: int, frame: Any) -> None:
    """A handler that does nothing. Unlike SIG_IGN, it is not inherited by child processes."""
