"""Why a run is in its state: a code and its facts, in two columns of the run's row.

The facts are few, short and plain JSON: times in ISO 8601 and UTC, ids as text, durations in seconds. They
never come from a run's options, so none of them is a secret. ``docs/reference/states.md`` has a table of all
codes, with the states and the facts that belong to them; ``runs.reasons`` makes sentences of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from jobledger.jobs.json_text import readable

MANY = 100
"""As a number of coalesced slots it means this many or more: they are not counted further."""
LONGEST_FACT = 500
"""Characters; as long as a pause's reason may be."""


class Reason(StrEnum):
    """A code. Together with the run's status it says what happened."""

    # A slot is planned, or a message sent.
    CAUGHT_UP = "caught_up"
    AFTER_PAUSE = "after_pause"
    SCHEDULE_EDITED = "schedule_edited"
    RETRY = "retry"
    NO_MESSAGE = "no_message"

    # A slot is not executed.
    OVERLAP = "overlap"
    QUEUE_FULL = "queue_full"
    TOO_MANY_LIVE = "too_many_live"
    PAUSED = "paused"
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
    LOST_PROCESS = "lost_process"
    LOST_HEARTBEAT = "lost_heartbeat"

    # A job fails.
    BAD_OPTIONS = "bad_options"
    UNKNOWN_JOB = "unknown_job"
    COMMAND_ERROR = "command_error"
    EXCEPTION = "exception"
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"


@dataclass(frozen=True, kw_only=True)
class Why:
    """A code with its facts, or neither: then the state needs no explanation."""

    reason: Reason | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """Shared by all that have the same: not to be changed."""

    @classmethod
    def of(cls, reason: Reason, /, **facts: Any) -> "Why":
        """The code with those of the facts that are known."""
        return cls(reason=reason, details=_plain(facts))

    @classmethod
    def read(cls, reason: str, details: Mapping[str, Any]) -> "Why":
        """What a row's two columns say; a code that is not known here is left out."""
        return cls(reason=_KNOWN.get(reason), details=details)

    def plus(self, **facts: Any) -> "Why":
        """The same with more facts."""
        return replace(self, details={**self.details, **_plain(facts)})

    @property
    def columns(self) -> dict[str, Any]:
        """The two columns of a row, to write them together with the state that they explain."""
        # A plain text: psycopg takes no list of both plain ones and members of an enumeration.
        return {"reason": "" if self.reason is None else self.reason.value, "reason_details": self.details}


def slot_count(count: int) -> str:
    """A number of coalesced slots in words: ``3``, ``100 or more``."""
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
            return readable(str(value))[:LONGEST_FACT]
    return value
