"""What becomes of the lines of a crontab. Values only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any

from jobledger.crontab.calls import Call
from jobledger.crontab.lines import Entry, Invalid
from jobledger.crontab.targets import Setting, Target, words_of
from jobledger.jobs.declaration import Concurrency
from jobledger.jobs.options.command_line import command_line
from jobledger.schedules import words
from jobledger.schedules.rules.cron_expression import parse
from jobledger.schedules.rules.wallclock import canonical_zone
from jobledger.schedules.stored_times import CronTimes


class Outcome(StrEnum):
    """What becomes of a line."""

    NEW = "new"
    """A schedule that does not exist yet."""
    UNCHANGED = "unchanged"
    """There is such a schedule."""
    KEPT = "kept"
    """There is a schedule of its name, which is different, and stays as it is."""
    DUPLICATE = "duplicate"
    """Another line means the same."""
    LEFT = "left"
    """It stays in the crontab, because it is not a call of a job."""
    PROBLEM = "problem"
    """Nothing can be imported before it is corrected."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The schedule that a line becomes."""

    name: str = ""
    target: Target
    times: CronTimes
    concurrency: Concurrency | None
    """None: as the job says."""
    time_limit: timedelta | None = None
    """None: as the job says."""
    time_limit_grace: timedelta | None = None
    mail: tuple[str, ...] = ()
    """The addresses that are to be told of failures."""
    description: str = ""

    @cached_property
    def meaning(self) -> tuple[Any, ...]:
        """Two plans with the same meaning would start the same at the same times."""
        zone = canonical_zone(str(self.times.zone))
        return *self.job_and_options, parse(self.times.expression).meaning, zone

    @cached_property
    def line_digest(self) -> str:
        """The same for all lines with this meaning: what a schedule keeps of the line that it was made of."""
        # Sets become lists.
        return sha256(json.dumps(self.meaning, default=sorted).encode()).hexdigest()

    @cached_property
    def job_and_options(self) -> tuple[str, str]:
        """What it starts, at whatever times."""
        return self.target.job.name, words_of(self.target.job, self.target.options)

    @property
    def command_line(self) -> str:
        """``cleanup_tokens --days 30``, with secrets masked."""
        return command_line(self.target.job, self.target.options).removeprefix("manage.py ")

    @property
    def timing(self) -> str:
        """In words."""
        return words.cron_in_words(self.times.expression, self.times.zone)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What becomes of one line."""

    line: Entry | Invalid
    outcome: Outcome
    reason: str = ""
    """Why it does not become a new schedule."""
    plan: Plan | None = None
    call: Call | None = None
    schedule: str = ""
    """The name of the schedule that it becomes, or that exists."""
    slots: Sequence[datetime] = ()
    """The next ones."""
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    setting: Setting | None = None
    """What to add to the settings, so that it can be imported."""


@dataclass(frozen=True, kw_only=True)
class Review:
    """What becomes of a crontab."""

    findings: Sequence[Finding]
    warnings: Sequence[str] = ()
    """About the file as a whole, or about several lines."""

    def having(self, *outcomes: Outcome) -> list[Finding]:
        return [each for each in self.findings if each.outcome in outcomes]
