"""The page of a run: what happened and why, details and related runs. Its output is in ``live``."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobledger.admin import display
from jobledger.admin.alerts.listing import ListedAlert, listed_alerts
from jobledger.admin_site import page_url
from jobledger.formats import seconds, size, took
from jobledger.jobs import registry, secrets
from jobledger.jobs.json_text import format_inline
from jobledger.jobs.options import OptionsError
from jobledger.jobs.options.command_line import command_line
from jobledger.models import Alert, Backfill, Run, RunAttempt, Status
from jobledger.runs import limits, overlap, reasons
from jobledger.runs.execution import progress
from jobledger.runs.processes import leftovers
from jobledger.runs.publishing import delivery
from jobledger.runs.sentence import Part
from jobledger.schedules.backfills import backfilling
from jobledger.schedules.chains import related_runs

MAX_CHILDREN = 50
MAX_ATTEMPTS = 100
MAX_ALERTS = 20

_LONG_FIELDS = ("traceback", "error", "options", "args")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """A run's options, with secrets masked."""

    named: Sequence[tuple[str, str]]
    returned: str
    """What a function returned; empty for a command, or if it was nothing."""
    positional: Sequence[str]
    """Only ordinary Celery tasks can have positional arguments."""
    command_line: str
    """The equivalent command; empty for ordinary Celery tasks and jobs that no longer exist."""


@dataclass(frozen=True, kw_only=True)
class EarlierAttempt:
    """An attempt other than the last one."""

    row: RunAttempt
    why: str
    traceback: str

    @property
    def mark(self) -> SafeString:
        return display.status_mark(self.row.status)

    @property
    def started(self) -> SafeString:
        return display.exactly_when(self.row.started_at)

    @property
    def took(self) -> str:
        return took(self.row.started_at, self.row.finished_at)

    @property
    def resources(self) -> Sequence[tuple[str, str]]:
        return _resources(self.row)


@dataclass(frozen=True, kw_only=True)
class RelatedRun:
    """A parent or child run."""

    run: Run

    @property
    def mark(self) -> SafeString:
        return display.status_mark(self.run.status)

    @property
    def url(self) -> str:
        return display.run_url(self.run.pk)

    @property
    def took(self) -> str:
        return took(self.run.started_at, self.run.finished_at)


@dataclass(frozen=True)
class RunPage:
    """The contents of a run's page except for its output. Each part is loaded when it is used."""

    run: Run
    now: datetime
    links_schedules: bool = True
    """Whether the user may open the pages of schedules."""

    @property
    def state_token(self) -> str:
        """Changes whenever anything other than times, progress, output and child runs may have changed."""
        run = self.run
        is_cancelled = int(run.cancel_requested_at is not None)
        return f"{run.status}.{run.attempt}.{is_cancelled}{run.reason_details.get('state', '')}"

    @property
    def children_token(self) -> str:
        """Changes whenever a child run is created or changes its status."""
        statuses = ",".join(child.run.status for child in self._first_children)
        return f"{zlib.crc32(statuses.encode()):x}" if statuses else ""

    @property
    def is_final(self) -> bool:
        return Status(self.run.status).is_final

    @property
    def is_over(self) -> bool:
        return self.run.is_over

    @property
    def mark(self) -> SafeString:
        return display.status_mark(self.run.status)

    @cached_property
    def sentence(self) -> SafeString:
        """What happened and why, with links to the runs and schedules that it mentions."""
        is_waiting = self.run.status == Status.QUEUED and self.run.concurrency_key
        holder = overlap.holder_of(self.run.concurrency_key) if is_waiting else None
        sentence = reasons.sentence(
            self.run, self.now, holder=overlap.held_by(holder) if holder else None, error=self.error
        )
        return format_html_join("", "{}", ((self._link(part),) for part in sentence.parts))

    @property
    def cancelled_by(self) -> str:
        """The user or process that cancelled the run."""
        return reasons.cancelled_by(self.run)

    @property
    def left_behind(self) -> str:
        """The processes and threads that outlived the job."""
        return leftovers.described(self.run)

    @property
    def started_by(self) -> str:
        return reasons.started_by(self.run.trigger, self.run.username, self.run.schedule_name)

    @property
    def queue(self) -> str:
        """Where its messages go, with their priority; empty if Celery's own routes decide."""
        return delivery.shown(self.run)

    @property
    def time_limit(self) -> str:
        """The time limit and where it is set; empty if there is no job that is given one here."""
        return limits.described(self.run)

    @property
    def schedule_url(self) -> str:
        """Empty if the schedule no longer exists, or the user may not see it."""
        return self._url_of_schedule(self.run.schedule_id)

    @property
    def times(self) -> Sequence[tuple[str, SafeString | str]]:
        """The known times, with their labels, and the duration."""
        run = self.run
        named = [
            ("Scheduled for", run.scheduled_for),
            ("Moved to", run.moved_to),
            ("Queued", run.queued_at),
            (
                "Next attempt" if run.attempt > 1 else "Not before",
                None if self.is_final or run.publish_count else run.start_after,
            ),
            ("Expires", None if self.is_final else run.start_before),
            ("Started", run.started_at),
            ("Cancel requested", run.cancel_requested_at),
            ("Finished", run.finished_at),
        ]
        found = [(name, display.exactly_when(time, self.now)) for name, time in named if time is not None]
        duration = took(run.started_at, run.finished_at or self.now)
        return [*found, ("Duration" if run.finished_at else "Running for", duration)] if duration else found

    @property
    def resources(self) -> Sequence[tuple[str, str]]:
        """What the current attempt has used, as far as known, with labels."""
        return _resources(self.run)

    @property
    def progress(self) -> str:
        """The progress as text; empty if the job does not report any."""
        return progress.described(self.run)

    @cached_property
    def options(self) -> RunOptions:
        masked, value = secrets.masked(self.run.job, self.run.options), self.run.return_value
        return RunOptions(
            named=[(name, format_inline(value)) for name, value in masked.items()],
            returned="" if value is None else format_inline(secrets.masked_args([value])[0]),
            positional=[format_inline(value) for value in secrets.masked_args(self.run.args)],
            command_line=_command_line(self.run),
        )

    @cached_property
    def error(self) -> str:
        """The error that the job, its parser or its process reported."""
        return reasons.without_secrets(self.run, self.run.error)

    @property
    def has_long_error(self) -> bool:
        """Whether the error has more than one line; the sentence includes only the first."""
        return "\n" in self.error.strip()

    @cached_property
    def traceback(self) -> str:
        return reasons.without_secrets(self.run, self.run.traceback)

    @cached_property
    def attempts(self) -> list[EarlierAttempt]:
        """The attempts before the last one, newest first."""
        if self.run.attempt == 1:
            return []
        rows = self.run.attempts.order_by("-attempt")[:MAX_ATTEMPTS]
        return [
            EarlierAttempt(
                row=row,
                why=reasons.explanation(row),
                traceback=reasons.without_secrets(row, row.traceback),
            )
            for row in rows
        ]

    @property
    def last_started_attempt(self) -> int:
        """The attempt whose output is shown: the current one, unless it has not started yet."""
        is_waiting = self.run.status == Status.QUEUED and self.run.attempt > 1
        return self.run.attempt - 1 if is_waiting else self.run.attempt

    @cached_property
    def alerts(self) -> list[ListedAlert]:
        """The alerts about this run, oldest first."""
        return listed_alerts(Alert.objects.filter(run=self.run).order_by("time", "pk")[:MAX_ALERTS])

    @cached_property
    def backfill(self) -> Backfill | None:
        """The backfill that it belongs to."""
        return backfilling.backfill_of(self.run)

    @property
    def parent(self) -> RelatedRun | None:
        return RelatedRun(run=self.run.parent) if self.run.parent else None

    @cached_property
    def started_after(self) -> list[RelatedRun]:
        """The runs after which a chain has started this one."""
        return [RelatedRun(run=run) for run in related_runs.predecessors_of(self.run)]

    @cached_property
    def then_started(self) -> list[RelatedRun]:
        """The runs that chains have started after this one."""
        return [RelatedRun(run=run) for run in related_runs.followers_of(self.run)]

    @property
    def children(self) -> list[RelatedRun]:
        """The first runs that this run started, in order."""
        return self._first_children[:MAX_CHILDREN]

    @property
    def has_more_children(self) -> bool:
        return len(self._first_children) > MAX_CHILDREN

    @cached_property
    def _first_children(self) -> list[RelatedRun]:
        runs = Run.objects.filter(parent=self.run).defer(*_LONG_FIELDS).order_by("queued_at", "pk")
        return [RelatedRun(run=run) for run in runs[: MAX_CHILDREN + 1]]

    def _url_of_schedule(self, schedule_id: int | str | None) -> str:
        is_linked = schedule_id and self.links_schedules
        return page_url("django_celery_beat_periodictask_change", schedule_id) if is_linked else ""

    def _link(self, part: Part) -> SafeString | str:
        url = display.run_url(part.run_id) if part.run_id else self._url_of_schedule(part.schedule_id)
        return format_html('<a href="{}">{}</a>', url, part.text) if url else part.text


def load(run_id: UUID) -> Run | None:
    """The run, with everything that its page needs; None if it does not exist."""
    parent_fields = [f"parent__{name}" for name in _LONG_FIELDS]
    return Run.objects.select_related("parent").defer(*parent_fields).filter(pk=run_id).first()


def _command_line(run: Run) -> str:
    job = registry.all_jobs().get(run.job)
    if job is None:
        return ""
    try:
        return command_line(job, run.options)
    except OptionsError:
        return ""


def _resources(row: Run | RunAttempt) -> Sequence[tuple[str, str]]:
    found = []
    if row.cpu_seconds is not None:
        found.append(("CPU time", seconds(row.cpu_seconds)))
    if row.peak_memory_bytes is not None:
        found.append(("peak memory", size(row.peak_memory_bytes)))
    return found
