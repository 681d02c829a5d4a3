"""The four ways to start jobs, many at once, and what became of each run."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from tests.integration.ledger import RunRow, call, run_rows, wait_for_end
from tests.integration.service import Service
from tests.waiting import wait_until


@dataclass(frozen=True, kw_only=True)
class Call:
    """A job with its options, as JSON and on a command line."""

    job: str
    app_label: str = "probes"
    options: Mapping[str, Any] = field(default_factory=dict)
    line: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Printed:
    """What a command has left on its terminal."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run that is over."""

    row: RunRow
    printed: Printed | None = None
    """Only from the command line."""


Way = Callable[[Service, Sequence[Call]], list[Done]]


def by_schedule(running: Service, calls: Sequence[Call]) -> list[Done]:
    """Let beat start each of them, by a schedule of its own, all in one tick."""
    names = [f"{call.job} {uuid4()}" for call in calls]
    schedules = [(name, call.job, json.dumps(call.options)) for name, call in zip(names, calls, strict=True)]
    _inside(running, "schedule", schedules)
    try:
        return _ended(running, [_run_of(running, name) for name in names])
    finally:
        _inside(running, "unschedule", names)


def by_celery_call(running: Service, calls: Sequence[Call]) -> list[Done]:
    """Send a message for each of them, as ``celery call`` does."""
    return _ended(
        running, [call(running, each.job, app_label=each.app_label, **each.options) for each in calls]
    )


def by_admin(running: Service, calls: Sequence[Call]) -> list[Done]:
    """Submit the form of each of them."""
    pks: list[str] = _inside(running, "post", [(call.job, dict(call.options)) for call in calls])
    return _ended(running, [UUID(pk) for pk in pks])


def by_command_line(running: Service, calls: Sequence[Call]) -> list[Done]:
    """Execute ``manage.py`` for each of them."""
    printed = _inside(running, "manage", [(call.job, *call.line) for call in calls])
    rows = {
        int(row.worker.rpartition(":")[2]): row
        for row in run_rows(running, "trigger = 'cli' AND worker <> ''")
    }
    return [
        Done(row=rows[pid], printed=Printed(exit_code=code, stdout=stdout, stderr=stderr))
        for pid, code, stdout, stderr in printed
    ]


WAYS: Mapping[str, Way] = {
    "schedule": by_schedule,
    "celery": by_celery_call,
    "admin": by_admin,
    "cli": by_command_line,
}
"""By the trigger on record."""


def _run_of(running: Service, schedule: str) -> UUID:
    found = wait_until(lambda: run_rows(running, "schedule_name = ?", schedule), what=f"a run of {schedule}")
    return found[0].pk


def _ended(running: Service, pks: Sequence[UUID]) -> list[Done]:
    return [Done(row=wait_for_end(running, pk)) for pk in pks]


def _inside(running: Service, function: str, values: Sequence[Any]) -> Any:
    """What a function of ``starting`` returns in the service's Django."""
    call = f"starting.{function}({values!r})"
    return json.loads(
        running.shell(f"import json; from tests.integration import starting; print(json.dumps({call}))")
    )
