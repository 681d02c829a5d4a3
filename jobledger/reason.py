"""Why a run is in its state: a code and its details, stored in two columns of the run.

The details are few, short and plain JSON: times in ISO 8601 and UTC, ids as strings, durations in seconds.
They never come from a run's options, so they contain no secrets. ``docs/reference/states.md`` has a table
of all codes, with their states and details; ``runs.reasons`` turns them into sentences.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from jobledger.jobs.json_text import readable

MANY = 100
"""Coalesced slots are counted no further than this: the number means "this many or more"."""
MAX_FACT_LENGTH = 500
"""In characters; the same as for a pause's reason."""


class Reason(StrEnum):
    """A code that says what happened, together with the run's status."""

    # A slot is planned, or a message sent.
    CAUGHT_UP = "caught_up"
    AFTER_PAUSE = "after_pause"
    SCHEDULE_EDITED = "schedule_edited"
    MOVED = "moved"
    RETRY = "retry"
    NO_MESSAGE = "no_message"
    AWAITS_RESULT = "awaits_result"

    # Nothing is known of an ordinary task.
    NO_RESULT_BACKEND = "no_result_backend"
    NO_RESULT = "no_result"
    UNREADABLE_RESULT = "unreadable_result"
    NO_ANSWER = "no_answer"

    # A slot is not executed.
    OVERLAP = "overlap"
    QUEUE_FULL = "queue_full"
    TOO_MANY_LIVE = "too_many_live"
    PAUSED = "paused"
    LEFT_OUT = "left_out"
    LATE = "late"
    COALESCED = "coalesced"
    CATCH_UP_LIMIT = "catch_up_limit"
    DEADLINE = "deadline"
    SCHEDULE_EXPIRED = "schedule_expired"

    # A run is ended from outside.
    USER = "user"
    SUPERSEDED = "superseded"
    WORKER_SHUTDOWN = "worker_shutdown"
    INTERRUPTED = "interrupted"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    LOST_PROCESS = "lost_process"
    OUT_OF_MEMORY = "out_of_memory"
    LOST_HEARTBEAT = "lost_heartbeat"
    NEVER_BEGAN = "never_began"

    # A job fails.
    BAD_OPTIONS = "bad_options"
    UNKNOWN_JOB = "unknown_job"
    COMMAND_ERROR = "command_error"
    EXCEPTION = "exception"
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"


@dataclass(frozen=True, kw_only=True)
class Why:
    """A code with its details, or neither if the state needs no explanation."""

    reason: Reason | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """May be shared: do not modify."""

    @classmethod
    def of(cls, reason: Reason, /, **facts: Any) -> "Why":
        """A code with details; empty ones are left out."""
        return cls(reason=reason, details=_plain(facts))

    @classmethod
    def read(cls, reason: str, details: Mapping[str, Any]) -> "Why":
        """From the two columns of a row; an unknown code becomes None."""
        return cls(reason=_KNOWN.get(reason), details=details)

    def plus(self, **facts: Any) -> "Why":
        """A copy with additional details."""
        return replace(self, details={**self.details, **_plain(facts)})

    @property
    def columns(self) -> dict[str, Any]:
        """The two columns, to be updated together with the status that they explain."""
        # A plain string: psycopg does not accept lists that mix strings with members of an enumeration.
        return {"reason": "" if self.reason is None else self.reason.value, "reason_details": self.details}


def slot_count(count: int) -> str:
    """Format a number of coalesced slots: ``3``, ``100 or more``."""
    return f"{count} or more" if count >= MANY else str(count)


NO_REASON = Why()
_KNOWN = {each.value: each for each in Reason}


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: _as_json(value) for name, value in facts.items()}
    return {name: value for name, value in plain.items() if value not in (None, "")}


def _as_json(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case timedelta():
            return value.total_seconds()
        case UUID():
            return str(value)
        case str():
            return readable(str(value))[:MAX_FACT_LENGTH]
    return value
