"""Masks secrets in the messages that a worker's main process holds.

Celery includes a message's arguments in events, in ``inspect active`` and in its log, as formatted by the
sender, and ``celery call`` does not mask them. So they are formatted here, from the arguments themselves.
"""

from collections.abc import Mapping
from typing import Any

from celery.app.task import Context
from celery.worker.request import Request

from jobledger.escapes import line_logger
from jobledger.jobs import registry, secrets
from jobledger.logs import running
from jobledger.logs.running import LoggedRun
from jobledger.runs.publishing import delivery

logger = line_logger(__name__)

MAX_REPR_LENGTH = 1024
"""Celery's own limit."""
HIDDEN = "(hidden)"


class MaskedRequest(Request):
    """A message that is being executed, as Celery keeps it in the main process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The child displays these, or the arguments themselves if one of these is empty.
        self.request_dict.update(argsrepr=self.argsrepr, kwargsrepr=self.kwargsrepr)
        if (job := registry.of_task(self.type)) is not None:
            running.note(self._logged_run(job))

    @property
    def argsrepr(self) -> str:
        """Jobs take no positional arguments, so any that were passed by mistake are hidden."""
        if self.args and registry.of_task(self.type) is not None:
            return HIDDEN
        return _formatted(lambda: tuple(secrets.masked_args(self.args)))

    @property
    def kwargsrepr(self) -> str:
        job = registry.of_task(self.type)
        return _formatted(lambda: secrets.masked(job.name if job else self.type, self.kwargs))

    @property
    def context(self) -> Context:
        """What the result backend needs to know, such as the chord that waits for the result."""
        payload = self.message.payload
        # In version 1 of the protocol, everything is in one dictionary.
        rest = payload if isinstance(payload, dict) else payload[2]
        return Context({**self.request_dict, **rest})

    @property
    def attempt(self) -> int | None:
        """Of its run; a message that was not sent for a run begins the first. None: an earlier version's."""
        attempt = self.request_dict.get(delivery.RUN_HEADER)
        return 1 if attempt is None else attempt if type(attempt) is int else None

    def _logged_run(self, job: registry.Job) -> LoggedRun:
        """What Celery's line that the message was received, which follows, is to name."""
        schedule = self.request_dict.get(delivery.SCHEDULE_HEADER)
        return LoggedRun(
            job=job.name,
            run_id=str(self.id),
            attempt=self.attempt,
            schedule=schedule if isinstance(schedule, str) else "",
        )

    def info(self, safe: bool = False) -> Any:  # noqa: FBT001, FBT002 - Celery's signature
        """For ``inspect``; never includes the arguments themselves."""
        return {**super().info(safe=True), "args": self.argsrepr, "kwargs": self.kwargsrepr}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.humaninfo()} {self.argsrepr} {self.kwargsrepr}>"


def masked_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """A message's headers for logging: masked, and without those that contain the arguments."""
    kept = {name: value for name, value in headers.items() if name not in ("argsrepr", "kwargsrepr")}
    return secrets.masked("", kept)


def _formatted(masked: Any) -> str:
    try:
        return repr(masked())[:MAX_REPR_LENGTH]
    except Exception:  # noqa: BLE001 - arguments of any shape or depth must not stop the worker
        return HIDDEN
