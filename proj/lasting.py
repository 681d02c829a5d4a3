"""A process of ``make up`` that ends by itself is started again, as Compose does it.

One that ends soon after its start is not: what is wrong with it would be so again. Then the whole service
stops, and its last lines say why.
"""

import signal
import time
from multiprocessing.synchronize import Event
from typing import Any

from honcho.process import Process

SHORTEST_LIFE_SECONDS = 10.0
PAUSE_SECONDS = 1.0


class LastingProcess(Process):  # type: ignore[misc]  # honcho has no types
    """honcho's process, started again until it is to stop."""

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


def _pass(signum: int, frame: Any) -> None:
    """A handler that, unlike an ignored signal, is not inherited."""
