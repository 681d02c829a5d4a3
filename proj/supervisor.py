"""The processes of the Procfile: started, started again, stopped warmly. All that the project uses of honcho.

honcho has no public way to choose how a process is run, to signal a process instead of its group, or to ask
which processes have ended. So both classes read and replace attributes that honcho keeps private: its list of
processes, its process class, and how a process reports to its manager.
"""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from functools import partial
from multiprocessing.synchronize import Event
from types import FrameType
from typing import Any

from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.process import Process

from proj.state import BASE_DIR

GRACE_SECONDS = 30.0
SHORTEST_LIFE_SECONDS = 10.0
PAUSE_SECONDS = 1.0


class Supervisor(Manager):  # type: ignore[misc]  # honcho has no types
    """honcho's manager, but warm: it signals the processes, not their groups, and waits for them.

    honcho itself sends SIGTERM to whole groups, which kills a Celery worker's children in the
    middle of their jobs, and kills everything five seconds later.
    """

    _stopping_since: float | None = None
    _is_killed = False

    def __init__(self) -> None:
        """No process yet."""
        super().__init__()
        self._stopping = multiprocessing.Event()
        self._process_ctor = partial(LastingProcess, stopping=self._stopping)

    def terminate(self) -> None:
        """Ask every process to stop; only the first call does."""
        if self._stopping_since is not None:
            return
        self._stopping_since = time.monotonic()
        self._stopping.set()
        signal.signal(signal.SIGINT, self._kill_now)
        for process in self._processes.values():
            if "pid" in process and "returncode" not in process:
                # It may be between its end and its next start.
                with suppress(ProcessLookupError):
                    os.kill(process["pid"], signal.SIGTERM)

    def kill(self) -> None:
        """Kill what still runs when the grace time is over."""
        if self._stopping_since is None or time.monotonic() - self._stopping_since > GRACE_SECONDS:
            self._kill_once()

    def _kill_now(self, signum: int, frame: FrameType | None) -> None:
        self._kill_once()

    def _kill_once(self) -> None:
        if not self._is_killed:
            self._is_killed = True
            super().kill()


class LastingProcess(Process):  # type: ignore[misc]  # honcho has no types
    """honcho's process, started again when it ends by itself, as Compose does it.

    One that ends soon after its start is not: what is wrong with it would be so again. Then the whole service
    stops, and its last lines say why.
    """

    def __init__(self, *args: Any, stopping: Event, **kwargs: Any) -> None:
        """``stopping`` is set by whoever ends the service."""
        super().__init__(*args, **kwargs)
        self._stopping = stopping
        self._began_at = 0.0
        self._starts_again = True

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:  # noqa: FBT001, FBT002 - honcho's
        """In a process of its own: start the command, pass its lines on, and start it again."""
        while self._starts_again:
            self._starts_again = False
            self._began_at = time.monotonic()
            # honcho ignores them, once the command runs; the command must not inherit that.
            for signum in signal.SIGINT, signal.SIGTERM:
                signal.signal(signum, _pass)
            super().run(events, ignore_signals)

    def _send_message(self, data: Any, type: str = "line") -> None:  # noqa: A002 - honcho's name
        if type == "stop" and self._is_to_last():
            self._starts_again = True
            text = f"ended by itself (rc={data['returncode']}) and is started again\n"
            super()._send_message(text.encode())
            return
        super()._send_message(data, type=type)
        if type == "start" and self._stopping.is_set():
            self._child.terminate()  # whoever ends the service did not know of it yet

    def _is_to_last(self) -> bool:
        lived = time.monotonic() - self._began_at
        return lived >= SHORTEST_LIFE_SECONDS and not self._stopping.wait(PAUSE_SECONDS)


def supervise(environment: dict[str, str], *, embedded_redis: bool) -> Supervisor:
    """The processes of the Procfile; without the embedded server when there is another Redis."""
    supervisor = Supervisor()
    for name, line in parse_procfile((BASE_DIR / "Procfile").read_text()).processes.items():
        if embedded_redis or name != "redis":
            supervisor.add_process(name, line, env=environment, cwd=str(BASE_DIR))
    return supervisor


def _pass(signum: int, frame: Any) -> None:
    """A handler that, unlike an ignored signal, is not inherited."""
