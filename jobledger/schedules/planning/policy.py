"""The choices of a schedule about slots that could not start on time, and its pauses. Values only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.jobs.declaration import Misfire, PausedSlots
from jobledger.reason import Reason, Why
from jobledger.schedules.rules.slots import as_utc

NOTHING = timedelta(0)

DEFAULT_GRACE = timedelta(minutes=1)
"""A minute is the step of cron: whatever is noticed before the next slot can come is on time. It covers
a restart and a slow moment, and in it a cron schedule has one slot at most."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A schedule's choices. The defaults suit users who come from cron."""

    misfire: Misfire = Misfire.ONCE
    catch_up_limit: int = 100
    """With ``Misfire.ALL``, how many late slots run at most; the newest do."""
    starting_deadline: timedelta | None = None
    """How late a slot may start at all."""
    jitter: timedelta = NOTHING
    """The schedule's slots all start by one and the same delay later, which is below this."""
    misfire_grace: timedelta = DEFAULT_GRACE
    """A slot that is noticed sooner than this after it was due is on time, and runs."""

    def __post_init__(self) -> None:
        if self.catch_up_limit < 1:
            raise ValueError(f"catch_up_limit: {self.catch_up_limit} is less than 1")
        if self.jitter < NOTHING:
            raise ValueError(f"jitter: {self.jitter} is negative")
        if self.misfire_grace <= NOTHING:
            raise ValueError(f"misfire_grace: {self.misfire_grace} leaves no slot on time")
        if self.starting_deadline is not None and self.starting_deadline <= NOTHING:
            raise ValueError(f"starting_deadline: {self.starting_deadline} lets no slot start")


@dataclass(frozen=True, kw_only=True)
class PausePeriod:
    """A time in which nothing of a schedule, or of the whole service, is started."""

    since: datetime
    until: datetime | None = None
    """Its end; None while it is open. A slot at the end itself is no longer paused."""
    reason: str = ""
    user: str = ""
    on_resume: PausedSlots = PausedSlots.SKIP
    pause_id: int | None = None
    is_service_wide: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "since", as_utc(self.since))
        if self.until is not None:
            object.__setattr__(self, "until", as_utc(self.until))

    def covers(self, moment: datetime) -> bool:
        return self.since <= moment and (self.until is None or moment < self.until)

    def why(self, reason: Reason) -> Why:
        """The reason of a slot that this pause has stopped or delayed."""
        return Why.of(
            reason,
            pause=self.pause_id,
            service=self.is_service_wide or None,
            until=self.until,
            user=self.user,
            comment=self.reason,
        )
