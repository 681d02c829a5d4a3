"""What the API accepts and returns, as its OpenAPI document describes it."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field

from jobledger.jobs.declaration import PausedSlots
from jobledger.models import Pause, Scope, Status, Trigger
from jobledger.runs.overlap import MAX_COMMENT_LENGTH
from jobledger.schedules.documents.keys import KEYS, Kind

MAX_LIMIT = 100
DEFAULT_LIMIT = 50
_JSON_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.FLAG: {"type": "boolean"},
    Kind.INTEGER: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.OBJECT: {"type": "object"},
    Kind.LIST: {"type": "array"},
    Kind.NAMES: {"type": "array", "items": {"type": "string"}},
}


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("It contains a NUL character; leave it out.")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""What any database can store."""


class Request(Schema):
    """A request's body; what it does not know is an error."""

    model_config = ConfigDict(extra="forbid")


class Problem(Schema):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what would be right.")
    errors: list["ValueProblem"] = Field(default=[], description="What is wrong with single values.")


class ValueProblem(Schema):
    location: str = Field(description="Such as body.options.days.")
    detail: str


class JobOption(Schema):
    """An option of a job."""

    name: str = Field(description="Its key in the options.")
    flags: str = Field(description="How it is written on the command line; empty: by its position.")
    help: str
    required: bool
    takes_list: bool
    choices: list[str]
    default: str
    secret: bool
    subcommands: list[str] = Field(description="The subcommands that it belongs to.")


class Job(Schema):
    """A management command that can be scheduled."""

    name: str
    task: str = Field(description="The name of its Celery task.")
    summary: str
    help: str
    usage: str
    options: list[JobOption]
    execution_policy: dict[str, str]
    may_start: bool = Field(description="Whether the token's owner may start it.")


class Jobs(Schema):
    jobs: list[Job]


class Run(Schema):
    """A run, or the record that a scheduled one was not executed."""

    id: UUID
    url: str
    job: str
    options: dict[str, Any]
    trigger: Trigger
    schedule: str | None
    scheduled_for: datetime | None
    moved_to: datetime | None
    status: Status
    reason: str | None
    reason_details: dict[str, Any]
    attempt: int
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    exit_signal: str | None
    peak_memory_bytes: int | None
    cpu_seconds: float | None
    error: str | None


class Attempt(Schema):
    """An earlier attempt of a run."""

    attempt: int
    status: Status
    reason: str | None
    reason_details: dict[str, Any]
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    exit_code: int | None
    exit_signal: str | None
    peak_memory_bytes: int | None
    cpu_seconds: float | None
    error: str | None
    traceback: str | None


class RunDetails(Run):
    """A run with everything but its output."""

    args: list[Any]
    user: str | None
    worker: str | None
    parent: UUID | None
    coalesced: int
    routing: dict[str, Any]
    time_limit_seconds: float | None
    time_limit_grace_seconds: float | None
    time_limit_set_by: str | None
    left_behind: list[Any]
    return_value: Any
    cancelled_by: str | None
    progress_done: int | None
    progress_total: int | None
    traceback: str | None
    attempts: list[Attempt]


class Runs(Schema):
    """A page of runs, newest first."""

    runs: list[Run]
    next_cursor: str | None = Field(description="Of the next page; null: there are no older runs.")
    searched_until: datetime | None = Field(
        description="Where the search stopped before it had filled the page; continue with next_cursor."
    )


class StartedRun(Run):
    """The run that was started, with addresses for people and programs."""

    page: str | None = Field(description="Its page in the admin.")
    warnings: list[str] = Field(description="Options that only a worker can validate.")


class Piece(Schema):
    attempt: int
    stream: str
    text: str
    written_at: datetime


class Output(Schema):
    """Some of a run's output."""

    pieces: list[Piece]
    next_cursor: str = Field(description="For what is written, or was not read yet, after these.")
    is_complete: bool = Field(description="Whether the run has ended, and this was the end of its output.")


class Start(Request):
    options: dict[str, Any] = Field(default={}, description="As the job's schedules have them.")


class Cancel(Request):
    reason: Text = Field(default="", max_length=MAX_COMMENT_LENGTH, description="Recorded with the run.")


class Cancelled(Schema):
    requested: bool = Field(description="False if it was already being cancelled.")
    run: Run


class PauseTerms(Request):
    """When a pause ends, and why there is one. By default, it lasts until it is resumed."""

    duration: str | None = Field(default=None, description="Such as 90s, 1h30m or 2d.")
    until: datetime | None = Field(default=None, description="Instead of a duration.")
    reason: Text = Field(default="", max_length=Pause._meta.get_field("reason").max_length)
    on_resume: PausedSlots | None = Field(
        default=None, description="What becomes of the runs that were due: none or one of them runs."
    )


class PauseOut(Schema):
    since: datetime
    until: datetime | None
    reason: str
    user: str
    of_service: bool


class Paused(Schema):
    schedules: list[str] | None = Field(description="Their names; null: the whole service.")
    until: datetime | None


class Resumed(Schema):
    schedules: list[str] | None = Field(description="Those that were paused; null: the whole service.")
    still_paused: list[str] = Field(description="Why nothing, or not all, is started yet.")


class Schedule(Schema):
    """A schedule, as an exported file has it, and its state."""

    id: int
    url: str
    name: str
    enabled: bool
    document: dict[str, Any] | None = Field(description="Null if what is stored is not valid.")
    problem: str | None = Field(description="Why beat cannot evaluate it.")
    next_run: datetime | None
    pauses: list[PauseOut] = Field(description="Those in force, with those of the whole service.")


class ScheduleDetails(Schedule):
    next_runs: list[datetime] = Field(description="The next times, regardless of pauses.")


class Schedules(Schema):
    schedules: list[Schedule]
    next_cursor: str | None


class ScheduleIn(Schema):
    """A schedule as in an exported file. What is left out has its default."""

    name: Text = Field(min_length=1, max_length=200)

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra=lambda schema: schema["properties"].update(
            {key: dict(_JSON_TYPES[found.kind]) for key, found in KEYS.items()}
        ),
    )


class Enabled(Schema):
    changed: bool


class Check(Schema):
    ok: bool
    reason: str


class HealthProblem(Schema):
    part: str
    problem: str
    text: str


class Service(Schema):
    """Whether jobs can start, as /readyz has it, and whether they are paused."""

    version: str
    ready: bool
    checks: dict[str, Check]
    problems: list[HealthProblem]
    pauses: list[PauseOut]


class Me(Schema):
    """The token that the request was made with."""

    token: str
    owner: str
    scope: Scope
    expires_at: datetime
