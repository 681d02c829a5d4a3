"""Whether jobs can start, as ``/readyz`` reports it: check by check, in a few words that may be public."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import Error
from django.utils import timezone

from jobledger import clock, formats, health
from jobledger.health import Health
from jobledger.health.problem import ProblemKind

REUSED_SECONDS = 2.0
"""How long a result is reused: the view is public, and takes about a dozen queries."""

CHECKS: Mapping[str, Sequence[ProblemKind]] = {
    "database": (),
    "redis": (ProblemKind.NO_BROKER,),
    "beat": (ProblemKind.NO_BEAT, ProblemKind.LATE_BEAT),
    "workers": (ProblemKind.NO_WORKER, ProblemKind.IDLE_WORKERS, ProblemKind.STALLED_WORKERS),
    "queues": (ProblemKind.UNREAD_QUEUE,),
}
"""What keeps jobs from starting on time."""
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


_last: tuple[float, Readiness] | None = None


def read() -> Readiness:
    """The readiness now, or up to two seconds ago."""
    global _last  # noqa: PLW0603 - one result per process: the project's cache may itself be in Redis
    asked_at = time.monotonic()
    if _last is None or asked_at - _last[0] > REUSED_SECONDS:
        _last = asked_at, _read()
    return _last[1]


def _read() -> Readiness:
    try:
        now = clock.now()
        return _of(health.read(now, server_time=timezone.now()), now)
    except Error as error:
        # Only the type of the error: its text may name users and hosts.
        name = type(error).__name__
        problem = {"part": "database", "problem": "no database", "text": name}
        return Readiness(checks={"database": (False, f"not available: {name}")}, problems=[problem])


def _of(found: Health, now: datetime) -> Readiness:
    usual = {
        "database": "available",
        "redis": "available",
        "queues": "all in use are read",
        "beat": _event("ticked", found.last_tick, now),
        "workers": _event("took a message", found.last_message, now),
    }
    checks = {name: _check(found, name, usual[name]) for name in CHECKS}
    problems = [{"part": each.part, "problem": each.kind, "text": each.short} for each in found.problems]
    return Readiness(checks=checks, problems=problems)


def _check(found: Health, name: str, usual: str) -> tuple[bool, str]:
    wrong = list(dict.fromkeys(each.short for each in found.problems if each.kind in CHECKS[name]))
    reasons = [*wrong, usual] if name in TIMED else wrong or [usual]
    return not wrong, "; ".join(reasons)


def _event(what: str, last: datetime | None, now: datetime) -> str:
    return f"{what} {formats.relative(last, now)}" if last else f"never {what}"
