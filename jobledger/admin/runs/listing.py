"""The list of runs: a row for each, and the way to its neighbouring pages."""

from dataclasses import dataclass
from datetime import datetime

from django.http import QueryDict
from django.utils.safestring import SafeString

from jobledger.admin import display
from jobledger.admin.runs.filters import RunFilterForm
from jobledger.admin.runs.search import Cursor, Page, Position, look
from jobledger.jobs import secrets
from jobledger.models import Run
from jobledger.runs import reasons

WHY_CHARACTERS = 160


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run as a list shows it."""

    run: Run
    now: datetime

    @property
    def mark(self) -> SafeString:
        """The state."""
        return display.status_mark(self.run.status)

    @property
    def why(self) -> str:
        """Why it is in this state, in short."""
        error = secrets.without_secrets(self.run.job, self.run.options, getattr(self.run, "error_begin", ""))
        why = reasons.short(self.run, self.now, error=error)
        return why if len(why) <= WHY_CHARACTERS else f"{why[: WHY_CHARACTERS - 1]}…"

    @property
    def started_by(self) -> str:
        """Who or what started it."""
        return reasons.started_by(self.run.trigger, self.run.who, self.run.schedule_name)

    @property
    def queued(self) -> SafeString:
        """When it came into the ledger."""
        return display.when(self.run.queued_at, self.now)

    @property
    def queued_exactly(self) -> str:
        """The same to the second."""
        return display.exact(self.run.queued_at)

    @property
    def started(self) -> SafeString:
        """When it began to run."""
        return display.when(self.run.started_at, self.now)

    @property
    def started_exactly(self) -> str:
        """The same to the second; empty when it did not."""
        return display.exact(self.run.started_at) if self.run.started_at else ""

    @property
    def began(self) -> SafeString:
        """When it started, or else was queued."""
        return display.when(self.run.started_at or self.run.queued_at, self.now)

    @property
    def took(self) -> str:
        """How long it ran, or has been running."""
        return display.took(self.run.started_at, self.run.finished_at or self.now)


@dataclass(frozen=True, kw_only=True)
class RunList:
    """One page of the list."""

    rows: list[ListedRun]
    form: RunFilterForm
    page: Page
    query: QueryDict
    is_first: bool

    @property
    def newer_link(self) -> str:
        """The address of the page with newer runs; empty when there is none."""
        return self._link(self.page.newer)

    @property
    def older_link(self) -> str:
        """The same with older runs."""
        return self._link(self.page.older)

    @property
    def newest_link(self) -> str:
        """The address of the first page."""
        return f"?{_without_cursor(self.query).urlencode()}"

    @property
    def looked_until(self) -> str:
        """How far the page has looked, where that is not all."""
        return display.exact(self.page.looked_until) if self.page.looked_until else ""

    @property
    def looks_to_newer(self) -> bool:
        """Whether the page goes on to newer runs."""
        return "after" in self.query

    def _link(self, cursor: Cursor | None) -> str:
        if cursor is None:
            return ""
        query = _without_cursor(self.query)
        query["after" if cursor.to_newer else "before"] = str(cursor.position)
        return f"?{query.urlencode()}"


def run_list(query: QueryDict, now: datetime) -> RunList:
    """The page that an address asks for."""
    form, cursor = RunFilterForm(query), _cursor(query)
    page = look(form.asked(now), cursor)
    rows = [ListedRun(run=run, now=now) for run in page.runs]
    return RunList(rows=rows, form=form, page=page, query=query, is_first=cursor is None)


def _cursor(query: QueryDict) -> Cursor | None:
    """Where the page begins; an address that makes no sense begins at the newest run."""
    for name in ("before", "after"):
        if position := Position.read(query.get(name, "")):
            return Cursor(position=position, to_newer=name == "after")
    return None


def _without_cursor(query: QueryDict) -> QueryDict:
    rest = query.copy()
    for name in ("before", "after"):
        rest.pop(name, None)
    for name in [name for name, value in rest.items() if not value]:
        del rest[name]
    return rest
