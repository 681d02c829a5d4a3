"""A schedule's settings for slots that cannot start on time, and its pauses. Values only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.formats import MAX_DURATION
from jobledger.jobs.declaration import MAX_CATCH_UP, Misfire, PausedSlots
from jobledger.reason import Reason, Why
from jobledger.schedules.rules.slots import as_utc

NOTHING = timedelta(0)

DEFAULT_GRACE = timedelta(minutes=1)
"""Cron's resolution is a minute, so a cron schedule has at most one slot within the grace period. It is long
enough for a restart or a short stall."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A schedule's settings. The defaults suit users who come from cron."""

    misfire: Misfire = Misfire.ONCE
    catch_up_limit: int = 100
    """With ``Misfire.ALL``, the maximum number of late slots to run; the newest ones are run."""
    starting_deadline: timedelta | None = None
    """How late a slot may still start; None: no deadline."""
    jitter: timedelta = NOTHING
    """Delays all slots of the schedule by the same amount, which is below this."""
    misfire_grace: timedelta = DEFAULT_GRACE
    """A slot that is planned less than this after it was due counts as on time, and runs."""

    def __post_init__(self) -> None:
        if self.catch_up_limit < 1:
            raise ValueError(f"catch_up_limit: {self.catch_up_limit} is less than 1")
        if self.catch_up_limit > MAX_CATCH_UP:
            raise ValueError(f"catch_up_limit: {self.catch_up_limit} is more than {MAX_CATCH_UP}")
        if self.jitter < NOTHING:
            raise ValueError(f"jitter: {self.jitter} is negative")
        if self.jitter > MAX_DURATION:
            raise ValueError(f"jitter: {self.jitter} is more than {MAX_DURATION.days} days")
        if self.misfire_grace <= NOTHING:
            raise ValueError(f"misfire_grace: {self.misfire_grace} is not positive")
        if self.starting_deadline is not None and self.starting_deadline <= NOTHING:
            raise ValueError(f"starting_deadline: {self.starting_deadline} is not positive")
        if self.starting_deadline is not None and self.starting_deadline > MAX_DURATION:
            days = MAX_DURATION.days
            raise ValueError(f"starting_deadline: {self.starting_deadline} is more than {days} days")


@dataclass(frozen=True, kw_only=True)
class PausePeriod:
    """A period during which a schedule, or the whole service, starts nothing."""

    since: datetime
    until: datetime | None = None
    """Exclusive: a slot at this time is not paused. None: the pause is open-ended."""
    reason: str = ""
    user: str = ""
    on_resume: PausedSlots = PausedSlots.SKIP
    pause_id: int | None = None
    is_service_wide: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "since", as_utc(self.since))
        if self.until is not None:
            object.__setattr__(self, "until", as_utc(self.until))

    def covers(self, at: datetime) -> bool:
        return self.since <= at and (self.until is None or at < self.until)

    def why(self, reason: Reason) -> Why:
        """The reason for a slot that this pause skipped or delayed."""
        return Why.of(
            reason,
            pause=self.pause_id,
            service=self.is_service_wide or None,
            until=self.until,
            user=self.user,
            comment=self.reason,
        )
