"""What jobs leave behind in spite of everything: processes and threads that outlive their run.

They are named on the run, whose status they do not change.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jobledger.escapes import escaped
from jobledger.jobs import secrets
from jobledger.models import Run

MAX_RECORDED = 20
"""At the end of an attempt."""
MAX_NAME_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A process with its command, or a thread with its name."""

    pid: int | None = None
    """None for a thread."""
    name: str

    def __str__(self) -> str:
        return f"thread {self.name}" if self.pid is None else f"process {self.pid} ({self.name})"


def record(run: Run, found: Iterable[Leftover]) -> None:
    """Add what this attempt has left behind to the run's record, with the run's secrets masked."""
    entries = [_as_json(run, each) for each in list(found)[:MAX_RECORDED]]
    if entries:
        stored = Run.objects.filter(pk=run.pk)
        before = stored.values_list("left_behind", flat=True).first() or []
        stored.update(left_behind=[*before, *entries])


def described(run: Run) -> str:
    """Such as ``process 123 (sleep 600), thread poller``; empty if nothing was left behind."""
    return ", ".join(
        str(Leftover(pid=each.get("pid"), name=each["name"])) for each in run.left_behind if _is_one(each)
    )


def _as_json(run: Run, leftover: Leftover) -> dict[str, Any]:
    name = secrets.without_secrets(run.job, run.options, leftover.name)
    return {"pid": leftover.pid, "name": escaped(name)[:MAX_NAME_LENGTH]}


def _is_one(stored: Any) -> bool:
    """Whether this is what ``left_behind`` has of each, whoever has written it."""
    return isinstance(stored, dict) and isinstance(stored.get("name"), str)
