"""A run's page: what happened and why, and everything that belongs to it.

The page is made of parts. Those that change all the time are sent again at every look at a running run;
the runs that it called when what is ``called`` has changed since, the others when its ``state`` has.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobledger.admin import display
from jobledger.jobs import registry, secrets
from jobledger.jobs.json_text import format_inline
from jobledger.jobs.options import OptionsError
from jobledger.jobs.options.command_line import command_line
from jobledger.models import Run, RunAttempt, Status
from jobledger.runs import overlap, reasons
from jobledger.runs.execution import progress_figures
from jobledger.runs.phrases import Part, Sentence


@dataclass(frozen=True, kw_only=True)
class ShownOptions:
    """What a run was given."""

    named: Sequence[tuple[str, str]]
    positional: Sequence[str]
    """Only an ordinary Celery task may have some."""
    line: str
    """The same by hand; empty where no line says it: the job is gone, or it is an ordinary task."""


def shown_options(run: Run) -> ShownOptions:
    """The options of this run, for everybody who may see it."""
    masked = secrets.masked(run.job, run.options)
    return ShownOptions(
        named=[(name, format_inline(value)) for name, value in masked.items()],
        positional=[format_inline(value) for value in run.args],
        line=_line(run),
    )


def without_secrets(run: Run, text: str) -> str:
    """What is told of the run, such as its error, without the values that its options hide."""
    return secrets.without_secrets(run.job, run.options, text)


def _line(run: Run) -> str:
    job = registry.all_jobs().get(run.job)
    if job is None:
        return ""
    try:
        return command_line(job, run.options)
    except OptionsError:
        return ""


MOST_CHILDREN = 50
MOST_ATTEMPTS = 100

_LONG_FIELDS = ("traceback", "error", "options", "args")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt that is over."""

    row: RunAttempt
    why: str
    """It did not succeed."""
    traceback: str

    @property
    def mark(self) -> SafeString:
        """How it ended."""
        return display.status_mark(self.row.status)

    @property
    def started(self) -> SafeString:
        """When it began."""
        return display.exactly_when(self.row.started_at)

    @property
    def took(self) -> str:
        """How long it ran."""
        return display.took(self.row.started_at, self.row.finished_at)


@dataclass(frozen=True, kw_only=True)
class Relative:
    """A parent or a child, with its state."""

    run: Run

    @property
    def mark(self) -> SafeString:
        """Its state."""
        return display.status_mark(self.run.status)

    @property
    def address(self) -> str:
        """Its page."""
        return address_of(self.run.pk)

    @property
    def took(self) -> str:
        """How long it ran."""
        return display.took(self.run.started_at, self.run.finished_at)


@dataclass(frozen=True)
class RunPage:
    """All that a run's page shows, but for its output. Reads as little as each part needs."""

    run: Run
    now: datetime

    @property
    def state(self) -> str:
        """A word that changes when more than time has passed."""
        return f"{self.run.status}.{self.run.attempt}.{int(self.run.cancel_requested_at is not None)}"

    @property
    def called(self) -> str:
        """A word that changes with the runs that it called: when another begins, waits or ends."""
        statuses = ",".join(child.run.status for child in self._called)
        return f"{zlib.crc32(statuses.encode()):x}" if statuses else ""

    @property
    def is_final(self) -> bool:
        """Whether it is over."""
        return Status(self.run.status).is_final

    @property
    def mark(self) -> SafeString:
        """The state."""
        return display.status_mark(self.run.status)

    @cached_property
    def sentence(self) -> SafeString:
        """What happened and why, with links to what it names."""
        holder = overlap.held_by(self._holder) if self._holder else None
        return _linked(reasons.sentence(self.run, self.now, holder=holder, error=self.error))

    @property
    def cancelled_by(self) -> str:
        """Who or what has asked for its end."""
        return reasons.cancelled_by(self.run)

    @property
    def started_by(self) -> str:
        """Who or what started it."""
        return reasons.started_by(self.run.trigger, self.run.who, self.run.schedule_name)

    @property
    def schedule_address(self) -> str:
        """The page of its schedule; empty when there is none any more."""
        return _schedule_address(self.run.schedule_id) if self.run.schedule_id else ""

    @property
    def times(self) -> Sequence[tuple[str, SafeString | str]]:
        """Its moments, by their names, those that have come."""
        run = self.run
        named = [
            ("Slot", run.scheduled_for),
            ("Queued", run.queued_at),
            ("Starts", run.publish_after if run.attempt > 1 and not run.publish_count else None),
            ("Expires", None if self.is_final else run.start_before),
            ("Started", run.started_at),
            ("End asked for", run.cancel_requested_at),
            ("Finished", run.finished_at),
        ]
        told = [
            (name, display.exactly_when(moment, self.now)) for name, moment in named if moment is not None
        ]
        took = display.took(run.started_at, run.finished_at or self.now)
        return [*told, ("Took" if run.finished_at else "So far", took)] if took else told

    @property
    def progress(self) -> str:
        """How far it has come, in figures; empty when the job counts nothing."""
        return progress_figures.described(self.run)

    @cached_property
    def options(self) -> ShownOptions:
        """What it was given."""
        return shown_options(self.run)

    @cached_property
    def error(self) -> str:
        """What its job, its parser or its process said of it."""
        return without_secrets(self.run, self.run.error)

    @property
    def has_long_error(self) -> bool:
        """Whether the error says more than the sentence, which has its first line."""
        return "\n" in self.error.strip()

    @property
    def shows_problem(self) -> bool:
        """Whether there is more to say of what went wrong."""
        return bool(self.run.traceback) or self.has_long_error

    @cached_property
    def traceback(self) -> str:
        """Where it went wrong."""
        return without_secrets(self.run, self.run.traceback)

    @cached_property
    def attempts(self) -> list[Attempt]:
        """The attempts before the last, the newest first."""
        if self.run.attempt == 1:
            return []
        rows = RunAttempt.objects.filter(run=self.run).order_by("-attempt")[:MOST_ATTEMPTS]
        return [
            Attempt(
                row=row,
                why=reasons.explanation(row, error=without_secrets(self.run, row.error)),
                traceback=without_secrets(self.run, row.traceback),
            )
            for row in rows
        ]

    @property
    def parent(self) -> Relative | None:
        """The run that called it."""
        return Relative(run=self.run.parent) if self.run.parent else None

    @property
    def children(self) -> list[Relative]:
        """The runs that it called, in their order; the first of many."""
        return self._called[:MOST_CHILDREN]

    @property
    def has_more_children(self) -> bool:
        """Whether it called more than these."""
        return len(self._called) > MOST_CHILDREN

    @property
    def last_started_attempt(self) -> int:
        """The attempt whose output is of interest: one that only waits to begin has none."""
        is_waiting = self.run.status == Status.QUEUED and self.run.attempt > 1
        return self.run.attempt - 1 if is_waiting else self.run.attempt

    @cached_property
    def _called(self) -> list[Relative]:
        runs = Run.objects.filter(parent=self.run).defer(*_LONG_FIELDS).order_by("queued_at", "pk")
        return [Relative(run=run) for run in runs[: MOST_CHILDREN + 1]]

    @cached_property
    def _holder(self) -> Run | None:
        waits = self.run.status == Status.QUEUED and self.run.concurrency_key
        return overlap.holder_of(self.run.concurrency_key) if waits else None


def load(run_id: UUID | str) -> Run | None:
    """The run with what its page needs."""
    parents = [f"parent__{name}" for name in _LONG_FIELDS]
    return Run.objects.select_related("parent").defer(*parents).filter(pk=run_id).first()


def address_of(run_id: UUID | str) -> str:
    """The page of a run."""
    return reverse("admin:jobledger_run_change", args=[run_id])


def _schedule_address(schedule_id: int | str) -> str:
    return reverse("admin:django_celery_beat_periodictask_change", args=[schedule_id])


def _linked(sentence: Sentence) -> SafeString:
    """The sentence, in which the runs and schedules that it names are links."""
    return format_html_join("", "{}", ((_link(part),) for part in sentence.parts))


def _link(part: Part) -> SafeString | str:
    if part.run_id:
        return format_html('<a href="{}">{}</a>', address_of(part.run_id), part.text)
    if part.schedule_id:
        return format_html('<a href="{}">{}</a>', _schedule_address(part.schedule_id), part.text)
    return part.text
