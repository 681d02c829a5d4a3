"""What a job can declare: plain values, no behaviour.

``JobCommand`` inherits these attributes; a plain command listed in ``EXPOSED_COMMANDS`` gets them from the
settings. Nothing here depends on Django's models or on Celery.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar


class Concurrency(StrEnum):
    """What to do with a new run while the job is already running."""

    FORBID = "forbid"
    QUEUE = "queue"
    REPLACE = "replace"
    ALLOW = "allow"


class Misfire(StrEnum):
    """What to do with late slots: those that passed while nothing could run them."""

    SKIP = "skip"
    """Run none of them."""
    ONCE = "once"
    """Run once for all of them."""
    ALL = "all"
    """Run each of them, up to a limit."""


MAX_CATCH_UP = 10_000
"""The maximum number of late slots that a schedule may run, whatever its own limit."""

MAX_FAILURES = 1000
"""How many failures in a row a rule can wait for."""

MAX_TIME_LIMIT = timedelta(days=1000)
"""A longer time limit of a schedule is a mistake."""


class LeftOutSlots(StrEnum):
    """What to do with a slot that falls on a calendar that its schedule leaves out."""

    SKIP = "skip"
    MOVE = "move"
    """Run it at the same time on the next day that is not left out, which may be a Saturday or a Sunday."""


class PausedSlots(StrEnum):
    """What to do, when a pause ends, with the slots that it covered."""

    SKIP = "skip"
    """Run none of them."""
    RUN_ONCE = "once"
    """Run the latest one, unless a newer slot is on time by then."""


class AlertKind(StrEnum):
    """What an alert says."""

    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    MISSED = "missed"
    """A run was not started at its time, or expired in the queue, and no later run covers it."""
    LATE = "late"
    """A run has been queued for longer than a limit."""
    SLOW = "slow"
    """A run takes longer than expected."""
    SILENT = "silent"
    """No run has succeeded within a declared time."""
    PAUSED = "paused"
    """A schedule was paused, because too many of its runs failed in a row."""
    RECOVERED = "recovered"
    """A run has succeeded after failures that were reported."""
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    FLAPPING = "flapping"
    """Runs alternate between failure and success. Reported instead of the failures themselves."""


DEFAULT_ALERTS = (
    AlertKind.FAILED,
    AlertKind.TIMED_OUT,
    AlertKind.LOST,
    AlertKind.MISSED,
    AlertKind.LATE,
    AlertKind.SLOW,
    AlertKind.SILENT,
    AlertKind.PAUSED,
    AlertKind.RECOVERED,
)
"""What is reported unless a rule says otherwise: whatever needs attention, but nothing that a user did."""


class Frequency(StrEnum):
    """How often a rule's alerts are sent."""

    IMMEDIATELY = "immediately"
    DAILY = "daily"
    WEEKLY = "weekly"


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """A job's own rule for alerts. It replaces the rules for all jobs."""

    kinds: Collection[AlertKind] = DEFAULT_ALERTS
    """What is reported. Empty: nothing."""
    after_failures: int = 1
    """How many runs must fail in a row before that is reported."""
    every_failure: bool = False
    """Whether each further failure is reported as well, until a run succeeds."""
    frequency: Frequency = Frequency.IMMEDIATELY
    late_after: timedelta | None = None
    """How long a run may be queued. None: any time."""
    destinations: Sequence[str] = ()
    """The names of destinations in the admin. Empty: those of the rules for all jobs."""


@dataclass(frozen=True, kw_only=True)
class Calendars:
    """The calendars of a schedule, by their names in the admin."""

    not_on: Sequence[str] = ()
    """Runs that fall on any of these are left out."""
    only_on: Sequence[str] = ()
    """If there are any, the schedule is due only on one of these."""
    left_out: LeftOutSlots = LeftOutSlots.SKIP
    """What happens to runs that are left out."""


@dataclass(frozen=True, kw_only=True)
class SolarEvent:
    """An event of the sun at a place."""

    event: str
    """``sunrise``, ``sunset``, ``solar_noon``, or a dawn or dusk such as ``dawn_civil``."""
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Schedule:
    """A schedule declared in code. ``manage.py jobledger sync`` merges it with what users edit in the admin.

    Exactly one of ``cron``, ``every``, ``at``, ``solar`` and ``after`` is required. ``manage.py check``
    validates all values.
    """

    cron: str | None = None
    """A cron expression, such as ``"30 3 * * mon-fri"``, or a macro, such as ``"@daily"``."""
    _: KW_ONLY
    every: timedelta | None = None
    """A fixed interval, in whole seconds."""
    at: datetime | None = None
    """A single time; without a UTC offset, in ``timezone``."""
    solar: SolarEvent | None = None
    """An event of the sun; needs ``django-jobledger[solar]``."""
    after: Sequence[str] = ()
    """The names of schedules instead of times: it starts once each has run, for the same scheduled time."""
    after_failure: bool = False
    """With ``after``, whether it also starts if their runs have ended without success."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The job's options, keyed by argparse ``dest``."""
    name: str | None = None
    """The schedule's name. Default: the job's name. It identifies the declaration from then on."""
    timezone: str | None = None
    """An IANA zone for ``cron`` and ``at``. Default: the project's ``TIME_ZONE``."""
    enabled: bool = True
    only_in: Sequence[str] = ()
    """The environments in which it is enabled. Empty: all of them."""
    description: str | None = None
    """Default: the job's help."""
    queue: str = ""
    """Empty: the job's."""
    priority: int | None = None
    """0 to 255. With Redis, 0 is the highest; with RabbitMQ, the lowest. None: the job's."""
    misfire: Misfire = Misfire.ONCE
    catch_up_limit: int = 100
    """With ``Misfire.ALL``, the maximum number of missed runs to start."""
    starting_deadline: timedelta | None = None
    """How late a run may still start. None: any time."""
    jitter: timedelta = timedelta(0)
    """Delays every run by the same random amount below this."""
    concurrency: Concurrency | None = None
    """What to do when a run is due while the job is already running. None: the job's setting."""
    time_limit: timedelta | None = None
    """How long a run may take. None: the job's setting."""
    time_limit_grace: timedelta | None = None
    """How long it may clean up after that, before it is killed. None: the job's setting."""
    calendars: Calendars = Calendars()
    """What is left out, such as holidays. The calendars themselves are made in the admin."""


class JobDeclaration:
    """The attributes of a job that the service reads, with their defaults."""

    concurrency: ClassVar[Concurrency] = Concurrency.FORBID
    """What to do when a run is due while the job is already running."""
    time_limit: ClassVar[timedelta | None] = None
    """How long a run may take; None: no limit."""
    max_queued: ClassVar[int] = 1
    """With ``Concurrency.QUEUE``, the maximum number of waiting runs; further runs are skipped."""
    max_live_per_schedule: ClassVar[int] = 3
    """With ``Concurrency.ALLOW``, the maximum number of live runs per schedule; further ones are skipped."""
    max_live: ClassVar[int] = 100
    """The same for all runs of the job, however they are started."""
    time_limit_grace: ClassVar[timedelta] = timedelta(seconds=30)
    """How long the job may clean up after its time limit or a cancel request, before it is killed."""
    memory_limit: ClassVar[str | None] = None
    """How much memory a run may use, such as ``"512 MB"``; None: no limit."""
    isolate: ClassVar[bool] = False
    """Whether each run that a worker executes gets a process of its own."""
    max_retries: ClassVar[int] = 0
    """The maximum number of automatic retries of a failed run."""
    retry_backoff: ClassVar[timedelta] = timedelta(seconds=30)
    """The delay before the first retry. It doubles for each further one, up to an hour, with some jitter."""
    retry_on: ClassVar[tuple[type[Exception], ...] | None] = None
    """Exceptions to retry on, besides database and network errors. None: all except CommandError."""
    restart_when_lost: ClassVar[bool] = False
    """Whether to restart a run whose process died. Set this only if it is safe for the job to run twice."""
    secret_options: ClassVar[Sequence[str]] = ()
    """Options, by ``dest``, to mask in addition to those whose names suggest a secret (``--api-key``)."""
    queue: ClassVar[str] = ""
    """The queue of its runs, unless their schedule names another. Empty: as Celery routes its task."""
    priority: ClassVar[int | None] = None
    """The priority of its runs in their queue, unless their schedule has another: 0 to 255.

    With Redis, 0 is the highest, also for None, and 9 or more the lowest; with RabbitMQ, 0 is the lowest.
    """
    worker_options: ClassVar[Sequence[str]] = ()
    """Options, by ``dest``, of whose values forms and checks validate only the shape, such as files."""
    alerts: ClassVar[Alerts | None] = None
    """What is reported about the job, and to whom. None: as the rules in the admin say."""
    expected_duration: ClassVar[timedelta | None] = None
    """A run that takes longer is reported as slow. None: three times its usual duration."""
    success_within: ClassVar[timedelta | None] = None
    """If none of a schedule's runs succeeds for this long, that is reported. None: it is not."""
    pause_after_failures: ClassVar[int | None] = None
    """A schedule is paused after this many failed runs in a row. None: it is not."""
    failure_pause: ClassVar[timedelta | None] = None
    """How long such a pause lasts. None: until a user resumes the schedule."""
    runs_while_paused: ClassVar[bool] = False
    """Whether its schedules start runs while the whole service is paused. Their own pauses still apply."""
    keep_for: ClassVar[timedelta | None] = None
    """How long its runs are kept after they end; ``timedelta.max``: forever. None: as the settings say."""
    keep_runs: ClassVar[int | None] = None
    """How many of its newest runs are kept, however old they are. None: as the settings say."""
    schedules: ClassVar[Sequence[Schedule]] = ()
    """The schedules that ``manage.py jobledger sync`` creates, and merges with users' edits from then on."""
    after: ClassVar[Sequence[str]] = ()
    """The names of schedules after which the job starts: short for ``schedules = [Schedule(after=…)]``."""

    @classmethod
    def concurrency_key(cls, options: Mapping[str, Any]) -> str:
        """A key that limits overlap to part of the job, such as a tenant or a date. Up to 100 characters."""
        return ""
