"""What an author may declare about a job: plain values, no behaviour.

``JobCommand`` inherits these attributes; a plain command named in ``EXPOSED_COMMANDS`` gets them
from the settings. Nothing here knows Django's models or Celery.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar


class Concurrency(StrEnum):
    """What happens to a run of a job that is already running."""

    FORBID = "forbid"
    QUEUE = "queue"
    REPLACE = "replace"
    ALLOW = "allow"


class Misfire(StrEnum):
    """What becomes of late slots: those that passed while nothing could run them."""

    SKIP = "skip"
    """None of them runs."""
    ONCE = "once"
    """One run stands for all of them."""
    ALL = "all"
    """Each runs, up to a limit."""


MAX_CATCH_UP = 10_000
"""The most late slots that one schedule may run, whatever its own limit."""


class PausedSlots(StrEnum):
    """What becomes of the slots of a pause when it ends."""

    SKIP = "skip"
    """None of them runs."""
    RUN_ONCE = "once"
    """The latest runs, unless a newer slot is on time by then."""


@dataclass(frozen=True)
class Schedule:
    """A schedule that comes with the job. It is put into the database once; from then on it is edited there.

    Exactly one of ``cron`` and ``every`` is given. ``manage.py check`` validates the times, the zone and
    the options.
    """

    cron: str | None = None
    """Five fields of cron, such as ``"30 3 * * mon-fri"``, or a macro, such as ``"@daily"``."""
    _: KW_ONLY
    every: timedelta | None = None
    """A fixed interval, in whole seconds."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The job's options, keyed by argparse ``dest``."""
    name: str | None = None
    """The schedule's name in the admin; the job's name when there is none."""
    timezone: str | None = None
    """An IANA zone for ``cron``; the project's ``TIME_ZONE`` when there is none."""
    enabled: bool = True


class JobDeclaration:
    """The attributes of a job that the service reads, with their defaults."""

    concurrency: ClassVar[Concurrency] = Concurrency.FORBID
    """What happens when the job is due while it is running."""
    time_limit: ClassVar[timedelta | None] = None
    """How long one run may take; ``None`` is without limit."""
    max_queued: ClassVar[int] = 1
    """With ``Concurrency.QUEUE``, how many runs wait at most; what comes on top is skipped."""
    max_live_per_schedule: ClassVar[int] = 3
    """With ``Concurrency.ALLOW``: a schedule's slots are skipped while so many of its runs are not over."""
    max_live: ClassVar[int] = 100
    """The same for all runs of the job, whatever started them."""
    time_limit_grace: ClassVar[timedelta] = timedelta(seconds=30)
    """How long the job's own cleanup may take after the time limit, or after a cancel; then it is killed."""
    max_retries: ClassVar[int] = 0
    """How many times a failed run is started again by itself."""
    retry_backoff: ClassVar[timedelta] = timedelta(seconds=30)
    """The pause before the first retry; it doubles each time, up to an hour, and varies a little."""
    retry_on: ClassVar[tuple[type[Exception], ...] | None] = None
    """What is tried again besides database and network errors; None: anything but CommandError."""
    restart_when_lost: ClassVar[bool] = False
    """Whether a run whose process died may start again. Set it only for a job that may safely run twice."""
    secret_options: ClassVar[Sequence[str]] = ()
    """Options, by ``dest``, that are shown to nobody, besides those whose names say so (``--api-key``)."""
    schedules: ClassVar[Sequence[Schedule]] = ()
    """The schedules that are put into the database when the job first appears."""

    @classmethod
    def concurrency_key(cls, options: Mapping[str, Any]) -> str:
        """What must not overlap, if less than the whole job: a tenant, a date. At most 100 characters."""
        return ""
