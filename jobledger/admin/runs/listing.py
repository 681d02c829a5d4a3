"""The list of runs: its filters, rows and pagination.

The job filter offers the registered jobs and the job in the URL: finding the names of jobs that no longer
exist would require reading all runs.
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
    """Rounds up to the next whole second when displayed, so that resubmitting it excludes nothing."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, datetime) and value.microsecond:
            value = value.replace(microsecond=0) + timedelta(seconds=1)
        return super().prepare_value(value)


class RunFilterForm(forms.Form):
    """The filters. Invalid ones are reported and ignored."""

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
        """Reads the filters from a URL. ``with_schedules``: whether the user may view schedules."""
        self.with_schedules = with_schedules
        data: dict[str, Any] = {name: query.get(name, "") for name in map(self.add_prefix, self.base_fields)}
        for name in URL_NAMES.values():
            # Times in links are exact; the browser's inputs have local times, to the second.
            data[name] = _time_with_offset(data[name]) or data[name]
        super().__init__(data, auto_id="filter-%s", label_suffix="")
        self._choice("status").choices = [
            ("", "any"),
            ("problem", "failed or missed"),
            ("failure", "failed, timed out or lost"),
            ("live", "queued or running"),
            *Status.choices,
        ]
        for name in ("status", "trigger", "time"):
            self.fields[name].error_messages["invalid_choice"] = (
                f"Valid values are: {self._valid_values(name)}."
            )
        # PostgreSQL rejects NUL characters, even in a filter.
        requested = [data["job"]] if data["job"] and "\x00" not in data["job"] else []
        jobs = dict.fromkeys([*registry.all_jobs(), *requested])
        self._choice("job").choices = [("", "any"), *((job, job) for job in jobs)]

    def add_prefix(self, field_name: str) -> str:
        """The field's name in the URL: ``from``, for example, is a keyword in Python."""
        return URL_NAMES.get(field_name, field_name)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and until <= since:
            self.add_error("until", "“To” must be later than “From”.")
        return cleaned

    @property
    def ignored(self) -> list[tuple[str, str, str]]:
        """The label, value and error of each invalid filter."""
        return [
            (str(self[name].label), str(self[name].value()), str(error))
            for name, errors in self.errors.items()
            for error in errors
        ]

    @property
    def hints(self) -> list[str]:
        """Possible reasons why valid filters match nothing."""
        self.is_valid()
        cleaned = self.cleaned_data
        job, schedule = cleaned.get("job"), cleaned.get("schedule")
        hints = []
        if job and job not in registry.all_jobs() and "." not in job:
            hints.append(f"There is no job named “{job}”.")
        if schedule and self.with_schedules and not _schedule_ids(schedule):
            hints.append(f"There is no schedule named “{schedule}”.")
        if cleaned.get("q"):
            text = "Search matches job names, and run IDs by their first characters (at least %d)."
            hints.append(text % MIN_ID_PREFIX_LENGTH)
        return hints

    @property
    def is_used(self) -> bool:
        return any(self.data.values())

    @property
    def first_fields(self) -> list[forms.BoundField]:
        """The most common filters, which are always shown."""
        return [self[name] for name in FIRST_FIELDS]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in FIRST_FIELDS]

    @property
    def uses_more(self) -> bool:
        """Whether any of the other filters is used."""
        return any(self.data[field.html_name] for field in self.more_fields)

    @cached_property
    def schedule_names(self) -> list[str]:
        """Suggestions for the browser; empty if there are too many or the user may not view them."""
        if not self.with_schedules:
            return []
        names = list(
            PeriodicTask.objects.order_by("name").values_list("name", flat=True)[: MAX_SUGGESTIONS + 1]
        )
        return names if len(names) <= MAX_SUGGESTIONS else []

    def run_query(self, now: datetime) -> RunQuery:
        """The query of the valid filters."""
        self.is_valid()
        cleaned = self.cleaned_data
        status, period = cleaned.get("status", ""), PERIODS.get(cleaned.get("time", ""))
        query = RunQuery(
            statuses=STATUS_GROUPS.get(status, (status,)) if status else None,
            jobs=(cleaned["job"],) if cleaned.get("job") else None,
            triggers=(cleaned["trigger"],) if cleaned.get("trigger") else None,
            schedule_ids=_schedule_ids(cleaned["schedule"]) if cleaned.get("schedule") else None,
            since=cleaned.get("since") or (now - period if period else None),
            until=cleaned.get("until"),
        )
        return _add_search(query, cleaned["q"]) if cleaned.get("q") else query

    def _valid_values(self, name: str) -> str:
        choices: Any = self._choice(name).choices
        return ", ".join(str(value) for value, _label in choices if value)

    def _choice(self, name: str) -> forms.ChoiceField:
        field: Any = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        return field


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run as shown in a list."""

    run: Run
    now: datetime

    @property
    def mark(self) -> SafeString:
        return display.status_mark(self.run.status)

    @property
    def why(self) -> str:
        """A short reason for the run's status."""
        error = secrets.without_secrets(self.run.job, self.run.options, getattr(self.run, "error_begin", ""))
        why = reasons.short(self.run, self.now, error=error)
        return why if len(why) <= WHY_CHARACTERS else f"{why[: WHY_CHARACTERS - 1]}…"

    @property
    def started_by(self) -> str:
        return reasons.started_by(self.run.trigger, self.run.username, self.run.schedule_name)

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
        """When it started or, if it has not, was queued."""
        return display.when(self.run.started_at or self.run.queued_at, self.now)

    @property
    def took(self) -> str:
        """How long it took, or has been running."""
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
        """The URL of the page with newer runs; empty if there is none."""
        return self._url(self.page.newer)

    @property
    def older_url(self) -> str:
        """The URL of the page with older runs; empty if there is none."""
        return self._url(self.page.older)

    @property
    def newest_url(self) -> str:
        return f"?{_without_cursor(self.query).urlencode()}"

    @property
    def searched_until(self) -> str:
        """Where the search stopped, if it did not cover the whole ledger."""
        return exact(self.page.searched_until) if self.page.searched_until else ""

    @property
    def goes_to_newer(self) -> bool:
        """Whether the search proceeded to newer runs."""
        return "after" in self.query

    def _url(self, cursor: Cursor | None) -> str:
        if cursor is None:
            return ""
        query = _without_cursor(self.query)
        query["after" if cursor.to_newer else "before"] = str(cursor.position)
        return f"?{query.urlencode()}"


def run_list(query: QueryDict, now: datetime, *, with_schedules: bool = False) -> RunList:
    """The requested page. ``with_schedules``: whether the user may view schedules."""
    form, cursor = RunFilterForm(query, with_schedules=with_schedules), _cursor(query)
    page = find_page(form.run_query(now), cursor)
    rows = [ListedRun(run=run, now=now) for run in page.runs]
    return RunList(rows=rows, form=form, page=page, query=query, is_first=cursor is None)


def _time_with_offset(text: str) -> datetime | None:
    """None for anything else, including times that cannot be represented in every time zone."""
    try:
        time = parse_datetime(text)
    except ValueError:
        return None
    return time if time and timezone.is_aware(time) and is_representable(time) else None


def _add_search(query: RunQuery, text: str) -> RunQuery:
    """Search for run IDs that start with the text or, if there are none, for job names that contain it.

    A job of this name, such as ``feed``, comes before the runs whose ids happen to start like that.
    """
    needle = text.strip().lower()
    is_job = any(name.lower() == needle for name in registry.all_jobs())
    runs = Run.objects.none() if is_job else Run.objects.with_id_prefix(text).order_by("pk")
    if ids := tuple(runs.values_list("pk", flat=True)[:MAX_IDS]):
        return replace(query, ids=ids)
    # The text itself may be the name of a job that no longer exists, or of an ordinary Celery task.
    names = dict.fromkeys([text.strip(), *(name for name in registry.all_jobs() if needle in name.lower())])
    return replace(query, jobs=tuple(name for name in names if query.jobs is None or name in query.jobs))


def _schedule_ids(name: str) -> tuple[int, ...]:
    return tuple(PeriodicTask.objects.filter(name=name).values_list("pk", flat=True))


def _cursor(query: QueryDict) -> Cursor | None:
    """Where the page starts. None means at the newest run; this is also used if the URL is invalid."""
    for name in ("before", "after"):
        if position := LedgerPosition.read(query.get(name, "")):
            return Cursor(position=position, to_newer=name == "after")
    return None


def _without_cursor(query: QueryDict) -> QueryDict:
    remaining = query.copy()
    for name in ("before", "after"):
        remaining.pop(name, None)
    for name in [name for name, value in remaining.items() if not value]:
        del remaining[name]
    return remaining
