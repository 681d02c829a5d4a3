"""Decides what a rule says about the runs of a job, one after the other. Pure.

A ``Streak`` is what a rule has to remember of the runs so far, and ``step`` leads from one to the next. Only
failures that the rule is about count, and only a success ends a streak of them; a run that was cancelled or
skipped changes nothing.

A job that alternates between failure and success would cause two messages each time. So if failures would be
told a third time within the last twenty runs, it is told once that the job is flapping, and then only
when it has failed five or succeeded ten times in a row. Rules that ask for every failure get every one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from jobledger.jobs.declaration import DEFAULT_ALERTS, AlertKind

WINDOW = 20
FLAPS = 3
"""How many times within the window a job begins to fail until it is flapping."""
STABLE = 5
"""A flapping job is told again after so many failures in a row."""
RECOVERY = WINDOW // 2
"""It recovers after so many successes in a row: one that fails more often than that is told only once."""

SUCCESS, FAILURE, TOLD = "+", "-", "!"
MIXED = "mixed"
FAILURE_KINDS = (AlertKind.FAILED, AlertKind.TIMED_OUT, AlertKind.LOST, AlertKind.MISSED)
"""These make a streak; all other kinds stand alone."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a rule asks for."""

    kinds: Collection[AlertKind] = DEFAULT_ALERTS
    after_failures: int = 1
    every_failure: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended, or several missed ones at once."""

    kind: AlertKind | None
    """None: the run succeeded."""
    at: datetime
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Streak:
    """The recent runs, as far as a rule has to know them."""

    failures: int = 0
    """Since the last success, or since the job has been flapping."""
    kind: str = ""
    """Of the failures since the last success, or ``MIXED``."""
    since: datetime | None = None
    """The first of them; or since when no run has succeeded."""
    is_told: bool = False
    """Whether the recipients believe that the job is failing."""
    is_flapping: bool = False
    recent: str = ""
    """The last outcomes, newest last: successes, failures, and failures that were told."""

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.failures and not self.is_told and not self.recent.strip(SUCCESS)

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "since": self.since and self.since.isoformat()}

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Streak":
        """From ``as_json``; unknown values, such as those of other versions, are ignored."""
        known = {name: stored[name] for name, kind in _KINDS.items() if isinstance(stored.get(name), kind)}
        return cls(**known, since=_time(stored.get("since")))


_KINDS: Mapping[str, type] = {
    "failures": int,
    "kind": str,
    "is_told": bool,
    "is_flapping": bool,
    "recent": str,
}


def _time(stored: Any) -> datetime | None:
    """None also for a time without a zone, which cannot be compared with any other."""
    try:
        found = datetime.fromisoformat(stored)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


@dataclass(frozen=True, kw_only=True)
class Saying:
    """What is to be told."""

    kind: AlertKind
    facts: Mapping[str, Any] = field(default_factory=dict)


def step(terms: Terms, streak: Streak, outcome: Outcome) -> tuple[Streak, Saying | None]:
    """The streak after the outcome, and what to say about it, if anything."""
    if outcome.kind is None:
        return _after_success(terms, streak, outcome)
    if outcome.kind not in terms.kinds:
        return streak, None
    if outcome.kind not in FAILURE_KINDS:
        return streak, Saying(kind=outcome.kind)
    return _after_failure(terms, streak, outcome, outcome.kind)


def silent(streak: Streak, since: datetime) -> Streak:
    """The streak once it has been told that no run has succeeded since this time."""
    return replace(streak, is_told=True, since=streak.since or since)


def _after_failure(
    terms: Terms, streak: Streak, outcome: Outcome, kind: AlertKind
) -> tuple[Streak, Saying | None]:
    failures = streak.failures + outcome.count
    same = kind.value if streak.kind in ("", kind) else MIXED
    grown = replace(streak, failures=failures, kind=same, since=streak.since or outcome.at)
    if grown.is_flapping and not terms.every_failure:
        noted = _noted(grown, FAILURE)
        in_a_row = _trailing(noted.recent, FAILURE)
        noted = replace(noted, is_flapping=in_a_row < WINDOW)
        # Those since it has been flapping are not in a row.
        told_of = replace(noted, failures=in_a_row)
        return noted, _about(kind, told_of, outcome) if in_a_row == STABLE else None
    is_reached = failures >= terms.after_failures
    if not is_reached or (grown.is_told and not terms.every_failure):
        return _noted(grown, FAILURE), None
    is_flapping = not terms.every_failure and grown.recent.count(TOLD) >= FLAPS - 1
    told = _noted(replace(grown, is_told=True, is_flapping=is_flapping), TOLD)
    return told, _about(AlertKind.FLAPPING if is_flapping else kind, told, outcome)


def _after_success(terms: Terms, streak: Streak, outcome: Outcome) -> tuple[Streak, Saying | None]:
    if streak.is_clean:
        return Streak(), None
    if streak.is_flapping and _trailing(streak.recent, SUCCESS) + 1 < RECOVERY:
        return replace(_noted(streak, SUCCESS), kind=""), None
    saying = None
    if streak.is_told and AlertKind.RECOVERED in terms.kinds:
        saying = Saying(
            kind=AlertKind.RECOVERED,
            facts={"failures": streak.failures, "since": streak.since, "was_flapping": streak.is_flapping},
        )
    ended = _noted(Streak(recent=streak.recent), SUCCESS)
    return (Streak() if ended.is_clean else ended), saying


def _about(kind: AlertKind, streak: Streak, outcome: Outcome) -> Saying:
    facts: dict[str, Any] = {"failures": streak.failures, "since": streak.since, "count": outcome.count}
    if streak.kind == MIXED:
        facts["is_mixed"] = True
    if kind is AlertKind.FLAPPING:
        failed = sum(each != SUCCESS for each in streak.recent)
        facts |= {"of": len(streak.recent), "failed": failed}
    return Saying(kind=kind, facts=facts)


def _noted(streak: Streak, outcome: str) -> Streak:
    return replace(streak, recent=(streak.recent + outcome)[-WINDOW:])


def _trailing(recent: str, kind: str) -> int:
    """How many of the newest outcomes are successes, or failures of any sort."""
    same = SUCCESS if kind == SUCCESS else FAILURE + TOLD
    return len(recent) - len(recent.rstrip(same))
