"""Whether jobs can start, as ``/readyz`` reports it: check by check, in a few words that may be public."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from jobledger import clock, formats, health
from jobledger.health import Health
from jobledger.health.problem import ProblemKind, listed
from jobledger.health.reading import NoAnswerError, Reading

REUSED_SECONDS = 2.0
"""How long a result is reused: the view is public, and takes about a dozen queries."""
WITHIN_SECONDS = 3.0
"""How long a probe waits at most: the usual timeout of probes is five seconds or longer."""

CHECKS: Mapping[str, Sequence[ProblemKind]] = {
    "database": (),
    "broker": (ProblemKind.NO_BROKER,),
    "beat": (ProblemKind.NO_BEAT, ProblemKind.LATE_BEAT),
    "workers": (ProblemKind.NO_WORKER, ProblemKind.IDLE_WORKERS, ProblemKind.STALLED_WORKERS),
    "queues": (),
}
"""What keeps jobs from starting on time. Unread queues do so too, also if no worker is running."""
TIMED = ("beat", "workers")
"""The checks whose reason always includes when something was last heard."""


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The result of all checks, which says nothing of an idle service but that it is idle."""

    checks: Mapping[str, tuple[bool, str]]
    """By name: whether it succeeded, and the reason."""
    problems: Sequence[Mapping[str, str]] = field(default_factory=tuple)
    """All problems, also those that keep no job from starting."""

    @property
    def is_ready(self) -> bool:
        return all(is_ok for is_ok, _ in self.checks.values())

    def as_json(self) -> dict[str, Any]:
        checks = {name: {"ok": is_ok, "reason": reason} for name, (is_ok, reason) in self.checks.items()}
        return {"ready": self.is_ready, "checks": checks, "problems": self.problems}


def read() -> Readiness:
    """The readiness now, or up to two seconds ago; there is always an answer within a few seconds."""
    try:
        return reading.get()
    except NoAnswerError as error:
        return _without_database("no database", "not available", str(error))


def _read() -> Readiness:
    try:
        now = clock.now()
        return _of(health.read(now, server_time=timezone.now()), now)
    except Error as error:
        # Only the type of the error: its text may name users and hosts.
        name = type(error).__name__
    broker = next(("not available" for _ in health.broker_problems()), "available")
    if _is_not_migrated():
        return _without_database("not migrated", "not migrated", name, broker)
    return _without_database("no database", "not available", name, broker)


def _is_not_migrated() -> bool:
    try:
        executor = MigrationExecutor(connection)
        return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except Error:
        return False


def _without_database(problem: str, state: str, why: str, broker: str = "") -> Readiness:
    unknown = f"not known: the database is {state}"
    checks = dict.fromkeys(CHECKS, (False, unknown)) | {"database": (False, f"{state}: {why}")}
    if broker:
        checks["broker"] = broker == "available", broker
    return Readiness(checks=checks, problems=[{"part": "database", "problem": problem, "text": why}])


def _of(found: Health, now: datetime) -> Readiness:
    usual = {
        "database": "available",
        "broker": "available",
        "queues": "all in use are read" if found.queues else "none in use",
        "beat": _event("ticked", found.last_tick, now),
        "workers": _event("took a message", found.last_message, now),
    }
    checks = {name: _check(found, name, usual[name]) for name in CHECKS}
    if unread := [name for name, is_read in found.queues.items() if not is_read]:
        checks["queues"] = False, f"no worker reads {listed(unread)}"
    problems = [{"part": each.part, "problem": each.kind, "text": each.short} for each in found.problems]
    return Readiness(checks=checks, problems=problems)


def _check(found: Health, name: str, usual: str) -> tuple[bool, str]:
    wrong = list(dict.fromkeys(each.short for each in found.problems if each.kind in CHECKS[name]))
    reasons = [*wrong, usual] if name in TIMED else wrong or [usual]
    return not wrong, "; ".join(reasons)


def _event(what: str, last: datetime | None, now: datetime) -> str:
    return f"{what} {formats.relative(last, now)}" if last else f"never {what}"


reading = Reading(_read, within_seconds=WITHIN_SECONDS, reused_seconds=REUSED_SECONDS)
