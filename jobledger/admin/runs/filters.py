"""The filters above the list of runs: a form, and what it asks of the ledger.

The jobs to choose from are those of the registry, and the one that is asked for: to look through the runs
for the names of jobs that are gone would take a look at them all.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.db.models import Q
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django_celery_beat.models import PeriodicTask

from jobledger.admin.fields import DateTimeField, number_in
from jobledger.admin.runs.search import Asked
from jobledger.jobs import registry
from jobledger.models import LIVE, PROBLEMS, Run, Status, Trigger
from jobledger.models.run import SHORTEST_ID_PREFIX
from jobledger.schedules.rules.wallclock import can_be_told

GROUPS: Mapping[str, tuple[str, ...]] = {"problem": PROBLEMS, "live": LIVE}
PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
NAMES = {"since": "from", "until": "to"}
FIRST_FIELDS = ("q", "status", "job", "time")
MOST_SUGGESTIONS = 500
MOST_IDS = 200

_PERIOD_CHOICES = [
    ("", "any time"),
    ("1h", "last hour"),
    ("24h", "last 24 hours"),
    ("7d", "last 7 days"),
]


class RunFilterForm(forms.Form):
    """What can be asked; of an answer that makes no sense that is said, and then it is not asked."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "run id or job"}),
    )
    status = forms.ChoiceField(label="Status", required=False)
    job = forms.ChoiceField(label="Job", required=False)
    trigger = forms.ChoiceField(label="Started by", required=False, choices=[("", "any"), *Trigger.choices])
    schedule = forms.CharField(
        label="Schedule",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"list": "schedule-names", "placeholder": "its name"}),
    )
    time = forms.ChoiceField(label="Queued", required=False, choices=_PERIOD_CHOICES)
    since = DateTimeField(label="From", required=False)
    until = DateTimeField(label="To", required=False)

    def __init__(self, query: QueryDict) -> None:
        """From a page's address; also with the names that Django's own filters have."""
        names = [self.add_prefix(name) for name in self.base_fields]
        given = {name: query.get(name) or query.get(f"{name}__exact", "") for name in names}
        given["schedule"] = given["schedule"] or query.get("schedule__id__exact", "")
        for name in NAMES.values():
            given[name] = _local(given[name])
        super().__init__(given, auto_id="filter-%s")
        self._choice("status").choices = [
            ("", "any"),
            ("problem", "went wrong"),
            ("live", "queued or running"),
            *Status.choices,
        ]
        # PostgreSQL takes no NUL, not even to look for it.
        for name in ("status", "trigger", "time"):
            self.fields[name].error_messages["invalid_choice"] = f"Known are: {self._known(name)}."
        asked_for = [given["job"]] if given["job"] and "\x00" not in given["job"] else []
        jobs = dict.fromkeys([*registry.all_jobs(), *asked_for])
        self._choice("job").choices = [("", "any"), *((job, job) for job in jobs)]

    def add_prefix(self, field_name: str) -> str:
        """A field's name in the address, where that is no name in Python."""
        return NAMES.get(field_name, field_name)

    def clean(self) -> dict[str, Any]:
        """Judge what two answers say together."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        since, until = given.get("since"), given.get("until")
        if since and until and until <= since:
            self.add_error("until", "This is not after “From”: nothing lies between them.")
        return given

    @property
    def complaints(self) -> list[tuple[str, str, str]]:
        """What makes no sense, and what would: a field's label, what was given, and what is said of it."""
        return [
            (str(self[name].label), str(self[name].value()), str(error))
            for name, errors in self.errors.items()
            for error in errors
        ]

    @property
    def hints(self) -> list[str]:
        """Why nothing may be found although the answers make sense."""
        self.is_valid()
        given = self.cleaned_data
        job, schedule = given.get("job"), given.get("schedule")
        found = []
        if job and job not in registry.all_jobs() and "." not in job:
            found.append(f"No job is called “{job}” now.")
        if schedule and not _schedule_ids(schedule):
            found.append(f"No schedule has the name or the number “{schedule}” now.")
        if given.get("q"):
            text = (
                "Searched are the beginnings of runs' ids, of %d characters or more, and the names of jobs."
            )
            found.append(text % SHORTEST_ID_PREFIX)
        return found

    @property
    def is_used(self) -> bool:
        """Whether anything is asked."""
        return any(self.data.values())

    @property
    def first_fields(self) -> list[forms.BoundField]:
        """What is asked most."""
        return [self[name] for name in FIRST_FIELDS]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        """The others."""
        return [self[name] for name in self.fields if name not in FIRST_FIELDS]

    @property
    def uses_more(self) -> bool:
        """Whether something beyond the first fields is asked."""
        return any(self.data[field.html_name] for field in self.more_fields)

    @cached_property
    def schedule_names(self) -> list[str]:
        """What the browser may suggest; nothing where it would be too much."""
        names = list(
            PeriodicTask.objects.order_by("name").values_list("name", flat=True)[: MOST_SUGGESTIONS + 1]
        )
        return names if len(names) <= MOST_SUGGESTIONS else []

    def asked(self, now: datetime) -> Asked:
        """What the answers mean."""
        self.is_valid()
        given = self.cleaned_data
        status, period = given.get("status", ""), PERIODS.get(given.get("time", ""))
        asked = Asked(
            statuses=GROUPS.get(status, (status,)) if status else None,
            jobs=(given["job"],) if given.get("job") else None,
            triggers=(given["trigger"],) if given.get("trigger") else None,
            schedule_ids=_schedule_ids(given["schedule"]) if given.get("schedule") else None,
            since=given.get("since") or (now - period if period else None),
            until=given.get("until"),
        )
        return _searched(asked, given["q"]) if given.get("q") else asked

    def _known(self, name: str) -> str:
        choices: Any = self._choice(name).choices
        return ", ".join(str(value) for value, _label in choices if value)

    def _choice(self, name: str) -> forms.ChoiceField:
        field: Any = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        return field


def _local(text: str) -> str:
    """A moment with its zone as the browser's field for moments wants it; anything else as it is."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        return text
    if moment is None or timezone.is_naive(moment) or not can_be_told(moment):
        return text
    return f"{timezone.localtime(moment):%Y-%m-%dT%H:%M:%S}"


def _searched(asked: Asked, searched: str) -> Asked:
    """By the beginning of a run's id if there is such a run, else by a part of a job's name."""
    runs = Run.objects.with_id_prefix(searched).order_by("pk")
    if ids := tuple(runs.values_list("pk", flat=True)[:MOST_IDS]):
        return replace(asked, ids=ids)
    wanted = searched.strip().lower()
    # The name itself, too: of a job that is gone, or of an ordinary task.
    names = dict.fromkeys(
        [searched.strip(), *(name for name in registry.all_jobs() if wanted in name.lower())]
    )
    return replace(asked, jobs=tuple(name for name in names if asked.jobs is None or name in asked.jobs))


def _schedule_ids(text: str) -> tuple[int, ...]:
    """The schedule of this name, or else of this number."""
    named = Q(name=text)
    found = dict(PeriodicTask.objects.filter(named | Q(pk=number_in(text))).values_list("name", "pk"))
    return (found[text],) if text in found else tuple(found.values())
