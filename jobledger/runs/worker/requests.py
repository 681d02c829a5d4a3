"""The messages that a worker's main process holds, without the secrets in them.

Celery shows a message's arguments in events, in ``inspect active`` and in its log: as the sender formatted
them, and ``celery call`` formats them as they are. So what is shown is made here, from the arguments.
"""

from collections.abc import Mapping
from typing import Any

from celery.worker.request import Request

from jobledger.escapes import line_logger
from jobledger.jobs import registry, secrets

logger = line_logger(__name__)

MAX_REPR_LENGTH = 1024
"""Celery's own limit."""
NOT_SHOWN = "(not shown)"


class MaskedRequest(Request):
    """A message under execution, as Celery keeps it in the main process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The child that executes it shows these, and the arguments themselves where one is empty.
        self.request_dict.update(argsrepr=self.argsrepr, kwargsrepr=self.kwargsrepr)

    @property
    def argsrepr(self) -> str:
        """A job takes none by position: what was given by mistake is not shown at all."""
        if self.args and registry.of_task(self.type) is not None:
            return NOT_SHOWN
        return _shown(lambda: tuple(secrets.masked_args(self.args)))

    @property
    def kwargsrepr(self) -> str:
        job = registry.of_task(self.type)
        return _shown(lambda: secrets.masked(job.name if job else self.type, self.kwargs))

    def info(self, safe: bool = False) -> Any:  # noqa: FBT001, FBT002 - Celery's signature
        """For ``inspect``: never the arguments themselves."""
        return {**super().info(safe=True), "args": self.argsrepr, "kwargs": self.kwargsrepr}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.humaninfo()} {self.argsrepr} {self.kwargsrepr}>"


def masked_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """A message's headers as they may be logged: those with its arguments are left out, others masked."""
    shown = {name: value for name, value in headers.items() if name not in ("argsrepr", "kwargsrepr")}
    return secrets.masked("", shown)


def _shown(masked: Any) -> str:
    try:
        return repr(masked())[:MAX_REPR_LENGTH]
    except Exception:  # noqa: BLE001 - arguments of any shape or depth must not stop the worker
        return NOT_SHOWN
