"""The list of runs: its filters, a row for each run, and the links to the neighbouring pages.

The jobs to choose from are those of the registry, and the one that is asked for: finding the names of jobs
that are gone would mean reading all runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger.admin import display
from jobledger.admin.fields import DateTimeField
from jobledger.admin.runs.search import Cursor, LedgerPosition, ResultPage, RunQuery, find_page
from jobledger.formats import exact, took
from jobledger.jobs import registry, secrets
from jobledger.models import FAILURES, LIVE, PROBLEMS, Run, Status, Trigger
from jobledger.models.run import MIN_ID_PREFIX_LENGTH
from jobledger.runs import reasons
from jobledger.schedules.rules.wallclock import is_representable

WHY_CHARACTERS = 160
STATUS_GROUPS: Mapping[str, tuple[str, ...]] = {"problem": PROBLEMS, "failure": FAILURES, "live": LIVE}
PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
URL_NAMES = {"since": "from", "until": "to"}
FIRST_FIELDS = ("q", "status", "job", "time")
MAX_SUGGESTIONS = 500
MAX_IDS = 200

_PERIOD_CHOICES = [
    ("", "any time"),
    ("1h", "last hour"),
    ("24h", "last 24 hours"),
    ("7d", "last 7 days"),
]


class _EndField(DateTimeField):
    """Shows the next whole second, so that nothing is left out when what it shows is sent."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, datetime) and value.microsecond:
            value = value.replace(microsecond=0) + timedelta(seconds=1)
        return super().prepare_value(value)


class RunFilterForm(forms.Form):
    """The filters. An invalid one is reported, and ignored."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "run ID or job"}),
    )
    status = forms.ChoiceField(label="Status", required=False)
    job = forms.ChoiceField(label="Job", required=False)
    trigger = forms.ChoiceField(label="Started by", required=False, choices=[("", "any"), *Trigger.choices])
    schedule = forms.CharField(
        label="Schedule",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"list": "schedule-names", "placeholder": "name"}),
    )
    time = forms.ChoiceField(label="Queued", required=False, choices=_PERIOD_CHOICES)
    since = DateTimeField(label="From", required=False)
    until = _EndField(label="To", required=False)

    def __init__(self, query: QueryDict, *, with_schedules: bool = False) -> None:
        """From a page's URL. ``with_schedules``: whether the user may know which schedules there are."""
        self.with_schedules = with_schedules
        given: dict[str, Any] = {name: query.get(name, "") for name in map(self.add_prefix, self.base_fields)}
        for name in URL_NAMES.values():
            # A link's own times are exact; the browser's fields show local ones, to the second.
            given[name] = _time_with_offset(given[name]) or given[name]
        super().__init__(given, auto_id="filter-%s", label_suffix="")
        self._choice("status").choices = [
            ("", "any"),
            ("problem", "failed or missed"),
            ("failure", "failed, timed out or lost"),
            ("live", "queued or running"),
            *Status.choices,
        ]
        # PostgreSQL takes no NUL, not even to look for it.
        for name in ("status", "trigger", "time"):
            self.fields[name].error_messages["invalid_choice"] = f"Valid values are: {self._known(name)}."
        asked_for = [given["job"]] if given["job"] and "\x00" not in given["job"] else []
        jobs = dict.fromkeys([*registry.all_jobs(), *asked_for])
        self._choice("job").choices = [("", "any"), *((job, job) for job in jobs)]

    def add_prefix(self, field_name: str) -> str:
        """A field's name in the URL, which need not be a name in Python."""
        return URL_NAMES.get(field_name, field_name)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        since, until = given.get("since"), given.get("until")
        if since and until and until <= since:
            self.add_error("until", "“To” must be later than “From”.")
        return given

    @property
    def ignored(self) -> list[tuple[str, str, str]]:
        """The invalid filters: a field's label, its value, and the error."""
        return [
            (str(self[name].label), str(self[name].value()), str(error))
            for name, errors in self.errors.items()
            for error in errors
        ]

    @property
    def hints(self) -> list[str]:
        """Why valid filters may find nothing."""
        self.is_valid()
        given = self.cleaned_data
        job, schedule = given.get("job"), given.get("schedule")
        found = []
        if job and job not in registry.all_jobs() and "." not in job:
            found.append(f"There is no job called “{job}”.")
        if schedule and self.with_schedules and not _schedule_ids(schedule):
            found.append(f"There is no schedule called “{schedule}”.")
        if given.get("q"):
            text = "The search covers job names and the first characters of run IDs (at least %d)."
            found.append(text % MIN_ID_PREFIX_LENGTH)
        return found

    @property
    def is_used(self) -> bool:
        return any(self.data.values())

    @property
    def first_fields(self) -> list[forms.BoundField]:
        """The most used filters."""
        return [self[name] for name in FIRST_FIELDS]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in FIRST_FIELDS]

    @property
    def uses_more(self) -> bool:
        """Whether any of the others is used."""
        return any(self.data[field.html_name] for field in self.more_fields)

    @cached_property
    def schedule_names(self) -> list[str]:
        """The browser's suggestions; none if there are too many, or if the user may not see them."""
        if not self.with_schedules:
            return []
        names = list(
            PeriodicTask.objects.order_by("name").values_list("name", flat=True)[: MAX_SUGGESTIONS + 1]
        )
        return names if len(names) <= MAX_SUGGESTIONS else []

    def run_query(self, now: datetime) -> RunQuery:
        """What the valid filters ask for."""
        self.is_valid()
        given = self.cleaned_data
        status, period = given.get("status", ""), PERIODS.get(given.get("time", ""))
        query = RunQuery(
            statuses=STATUS_GROUPS.get(status, (status,)) if status else None,
            jobs=(given["job"],) if given.get("job") else None,
            triggers=(given["trigger"],) if given.get("trigger") else None,
            schedule_ids=_schedule_ids(given["schedule"]) if given.get("schedule") else None,
            since=given.get("since") or (now - period if period else None),
            until=given.get("until"),
        )
        return _searched(query, given["q"]) if given.get("q") else query

    def _known(self, name: str) -> str:
        choices: Any = self._choice(name).choices
        return ", ".join(str(value) for value, _label in choices if value)

    def _choice(self, name: str) -> forms.ChoiceField:
        field: Any = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        return field


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run as a list shows it."""

    run: Run
    now: datetime

    @property
    def mark(self) -> SafeString:
        return display.status_mark(self.run.status)

    @property
    def why(self) -> str:
        """Why it is in its status, in short."""
        error = secrets.without_secrets(self.run.job, self.run.options, getattr(self.run, "error_begin", ""))
        why = reasons.short(self.run, self.now, error=error)
        return why if len(why) <= WHY_CHARACTERS else f"{why[: WHY_CHARACTERS - 1]}…"

    @property
    def started_by(self) -> str:
        return reasons.started_by(self.run.trigger, self.run.who, self.run.schedule_name)

    @property
    def queued(self) -> SafeString:
        return display.when(self.run.queued_at, self.now)

    @property
    def queued_exactly(self) -> str:
        return exact(self.run.queued_at)

    @property
    def started(self) -> SafeString:
        return display.when(self.run.started_at, self.now)

    @property
    def started_exactly(self) -> str:
        """Empty if it did not start."""
        return exact(self.run.started_at) if self.run.started_at else ""

    @property
    def began(self) -> SafeString:
        """When it started, or else was queued."""
        return display.when(self.run.started_at or self.run.queued_at, self.now)

    @property
    def took(self) -> str:
        """How long it ran, or has been running."""
        return took(self.run.started_at, self.run.finished_at or self.now)


@dataclass(frozen=True, kw_only=True)
class RunList:
    """One page of the list, newest first."""

    rows: list[ListedRun]
    form: RunFilterForm
    page: ResultPage
    query: QueryDict
    is_first: bool

    @property
    def newer_url(self) -> str:
        """The page with newer runs; empty if there is none."""
        return self._url(self.page.newer)

    @property
    def older_url(self) -> str:
        """The page with older runs; empty if there is none."""
        return self._url(self.page.older)

    @property
    def newest_url(self) -> str:
        """The first page."""
        return f"?{_without_cursor(self.query).urlencode()}"

    @property
    def searched_until(self) -> str:
        """How far the ledger was searched, if not to its end."""
        return exact(self.page.searched_until) if self.page.searched_until else ""

    @property
    def goes_to_newer(self) -> bool:
        """Whether the search went on to newer runs."""
        return "after" in self.query

    def _url(self, cursor: Cursor | None) -> str:
        if cursor is None:
            return ""
        query = _without_cursor(self.query)
        query["after" if cursor.to_newer else "before"] = str(cursor.position)
        return f"?{query.urlencode()}"


def run_list(query: QueryDict, now: datetime, *, with_schedules: bool = False) -> RunList:
    """The page that a URL asks for; with ``with_schedules`` for a user who may see schedules."""
    form, cursor = RunFilterForm(query, with_schedules=with_schedules), _cursor(query)
    page = find_page(form.run_query(now), cursor)
    rows = [ListedRun(run=run, now=now) for run in page.runs]
    return RunList(rows=rows, form=form, page=page, query=query, is_first=cursor is None)


def _time_with_offset(text: str) -> datetime | None:
    """None for anything else, and for a time that not every zone can show."""
    try:
        time = parse_datetime(text)
    except ValueError:
        return None
    return time if time and timezone.is_aware(time) and is_representable(time) else None


def _searched(query: RunQuery, text: str) -> RunQuery:
    """By the beginning of a run's id if there is such a run, else by a part of a job's name."""
    runs = Run.objects.with_id_prefix(text).order_by("pk")
    if ids := tuple(runs.values_list("pk", flat=True)[:MAX_IDS]):
        return replace(query, ids=ids)
    wanted = text.strip().lower()
    # The text itself, too: the name of a job that is gone, or of an ordinary task.
    names = dict.fromkeys([text.strip(), *(name for name in registry.all_jobs() if wanted in name.lower())])
    return replace(query, jobs=tuple(name for name in names if query.jobs is None or name in query.jobs))


def _schedule_ids(name: str) -> tuple[int, ...]:
    return tuple(PeriodicTask.objects.filter(name=name).values_list("pk", flat=True))


def _cursor(query: QueryDict) -> Cursor | None:
    """Where the page begins; None, for an invalid URL as well, is the newest run."""
    for name in ("before", "after"):
        if position := LedgerPosition.read(query.get(name, "")):
            return Cursor(position=position, to_newer=name == "after")
    return None


def _without_cursor(query: QueryDict) -> QueryDict:
    rest = query.copy()
    for name in ("before", "after"):
        rest.pop(name, None)
    for name in [name for name, value in rest.items() if not value]:
        del rest[name]
    return rest
