"""The forms that, together with the target and the policy, make up the edit form: details and timing.

Errors are attached to their fields, with the messages of the rules that raised them.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.admin.fields import INVALID_TIME, DateTimeField, DateTimeInput, validate_range
from jobledger.escapes import escaped
from jobledger.jobs import json_text, secrets
from jobledger.jobs.options import OptionsError
from jobledger.models import Dialect
from jobledger.runs.publishing import delivery
from jobledger.schedules import stored_times
from jobledger.schedules.rules import solar, wallclock
from jobledger.schedules.rules.slots import Rule, RuleError
from jobledger.schedules.rules.solar import EVENTS
from jobledger.schedules.rules.wallclock import zone_named
from jobledger.schedules.stored_times import (
    MAX_INTEGER,
    ChainTimes,
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
)

NAMED = ("name", "enabled", "description")
VALIDITY = ("start_time", "expires", "one_off")
DELIVERY = ("queue", "priority", "expire_seconds", "exchange", "routing_key", "headers")

CRON, INTERVAL, ONCE, SUN, AFTER = "cron", "interval", "once", "sun", "after"
KINDS = ((CRON, "Cron"), (INTERVAL, "Interval"), (ONCE, "Once"), (AFTER, "After others"))
UNITS = (
    ("seconds", "seconds"),
    ("minutes", "minutes"),
    ("hours", "hours"),
    ("days", "days"),
)


def masked_headers(schedule: PeriodicTask) -> str:
    """The schedule's message headers with secrets masked: JSON, or the stored text if it is invalid."""
    headers, text = _headers(schedule), str(schedule.headers or "{}")
    if headers is None:
        return secrets.masked_text("", text)
    return json_text.format_for_storage(secrets.masked("", headers), text)


def _headers(schedule: PeriodicTask) -> dict[str, Any] | None:
    """The stored headers; None if they are not a JSON object."""
    try:
        return delivery.headers_in(schedule.headers)
    except ValueError:
        return None


class DetailsForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker alone
    """The fields of the schedule itself. The instance is the schedule as it would be saved."""

    class Meta:
        model = PeriodicTask
        fields = (*NAMED, *VALIDITY, *DELIVERY)
        labels: ClassVar[dict[str, Any]] = {
            "enabled": "Enabled",
            "start_time": "Start time",
            "expires": "End time",
            "one_off": "Run only once",
            "queue": "Queue",
            "priority": "Priority",
            "expire_seconds": "Message expires after (seconds)",
            "routing_key": "Routing key",
            "headers": "Message headers",
        }
        help_texts: ClassVar[dict[str, Any]] = {
            "name": "Must be unique. Runs keep this name.",
            "enabled": "Enabling a schedule does not start runs that were due while it was disabled.",
            "description": "What the schedule is for, and who is responsible for it.",
            "start_time": "No runs before this time. An interval counts from it.",
            "expires": "No runs from this time on.",
            "one_off": "The schedule is disabled after its next run.",
            "queue": "Empty: the job's, or the default queue.",
            "priority": "0 to 255; else the job's. With Redis, 0 is the highest; with RabbitMQ, the lowest.",
            "expire_seconds": "A run expires if no worker has started it by then.",
            "exchange": "",
            "routing_key": "",
            "headers": "A JSON object. Asterisks represent a stored secret; leave them unchanged to keep it.",
        }
        field_classes: ClassVar[dict[str, Any]] = {"start_time": DateTimeField, "expires": DateTimeField}
        widgets: ClassVar[dict[str, Any]] = {
            "name": forms.TextInput(attrs={"class": "vTextField"}),
            "description": forms.Textarea(attrs={"rows": 2}),
            "headers": forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._others = PeriodicTask.objects.exclude(pk=self.instance.pk)
        self.initial["headers"] = masked_headers(self.instance)
        for name in self.Meta.field_classes:
            self.fields[name].stored = getattr(self.instance, name)  # type: ignore[attr-defined]

    @property
    def is_name_taken(self) -> bool:
        """Whether another schedule has the name that was entered."""
        return bool(self._others.filter(name=self.cleaned_data["name"]).exists())

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if escaped(name) != name:
            raise ValidationError("A name must not contain line breaks or other control characters.")
        if self.is_name_taken:
            raise ValidationError("A schedule with this name already exists.")
        return name

    def clean_expire_seconds(self) -> int | None:
        """Checks the range of the database column."""
        seconds: int | None = self.cleaned_data["expire_seconds"]
        if seconds is not None and seconds > MAX_INTEGER:
            raise ValidationError(f"Must be at most {MAX_INTEGER}.")
        return seconds

    def clean_queue(self) -> str | None:
        return self._clean_name("queue")

    def clean_exchange(self) -> str | None:
        return self._clean_name("exchange")

    def clean_routing_key(self) -> str | None:
        return self._clean_name("routing_key")

    def clean_headers(self) -> str:
        """Validates the JSON object, rejects names reserved by Celery, and restores masked secrets."""
        stored = _headers(self.instance) or {}
        try:
            posted = delivery.headers_in(self.cleaned_data["headers"])
            headers = secrets.unmasked(posted, stored, secrets.masked("", stored))
        except secrets.UnknownMaskError as error:
            raise ValidationError(str(error)) from error
        except OptionsError as error:
            raise ValidationError(f"Too large: {error}.") from error
        except ValueError as error:
            raise ValidationError(f"Enter a JSON object: {error}.") from error
        if reserved := delivery.reserved_among(headers):
            raise ValidationError(f"Celery sets {', '.join(reserved)} itself. Choose another name.")
        return json_text.format_for_storage(headers, self.instance.headers)

    def _clean_name(self, field: str) -> str | None:
        """Rejects names that the broker uses for other purposes."""
        name: str | None = self.cleaned_data[field]
        if problem := delivery.problem_with_name(name or ""):
            raise ValidationError(f"Choose another name: {problem}.")
        return name

    def clean(self) -> dict[str, Any]:
        """Validates combinations of fields."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        start, end = data.get("start_time"), data.get("expires")
        if start and end and end <= start:
            self.add_error("expires", "The end time must be later than the start time.")
        if end and data.get("expire_seconds") is not None:
            self.add_error("expire_seconds", "Set either this or the end time, not both.")
        return data

    def validate_unique(self) -> None:
        """Skipped: django-celery-beat's validation requires the timing, which has its own form."""


class TimesForm(forms.Form):
    """The timing. After ``is_valid``, it is in ``times``, and its rule in ``rule``."""

    kind = forms.ChoiceField(label="Type", choices=KINDS, initial=CRON, widget=forms.RadioSelect)
    cron = forms.CharField(
        label="Cron expression",
        required=False,
        max_length=600,
        widget=forms.TextInput(attrs={"placeholder": "30 3 * * 1-5", "class": "cron"}),
        help_text=(
            "Minute, hour, day of month, month and day of week, as in Debian's cron. "
            "Names (mon-fri), @daily and L (last) work too."
        ),
    )
    dialect = forms.ChoiceField(
        label="Read as",
        choices=[
            (Dialect.CRON, "cron: either day is enough"),
            (Dialect.CELERY, "Celery's crontab: both days must match"),
        ],
        required=False,
        initial=Dialect.CRON,
        help_text=(
            "What it means if both day of month and day of week are restricted, and when the clocks change. "
            "Schedules that were made for django-celery-beat's own scheduler keep Celery's rules."
        ),
    )
    every = forms.IntegerField(label="Every", required=False, min_value=1, max_value=1_000_000_000)
    unit = forms.ChoiceField(label="Unit", choices=UNITS, required=False, initial="minutes")
    at = forms.CharField(
        label="Time",
        required=False,
        widget=DateTimeInput(),
        help_text="In the time zone below.",
    )
    zone = forms.CharField(
        label="Time zone",
        required=False,
        widget=forms.TextInput(attrs={"list": "zones", "placeholder": "Europe/London"}),
        help_text="A name such as Europe/London. Times follow its local clock and daylight saving time.",
    )
    after = forms.CharField(
        label="After",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=(
            "The names of schedules, one per line. Once each of them has run for the same scheduled time, "
            "this one starts for that time. Only runs that they start themselves count."
        ),
    )
    after_failure = forms.BooleanField(
        label="Start even if they have failed",
        required=False,
        help_text="Otherwise, all of them must have succeeded. Runs that never started do not count.",
    )
    event = forms.ChoiceField(label="Event", choices=[(name, name) for name in EVENTS], required=False)
    latitude = forms.DecimalField(label="Latitude", required=False, max_digits=9, decimal_places=6)
    longitude = forms.DecimalField(label="Longitude", required=False, max_digits=9, decimal_places=6)

    def __init__(
        self,
        data: Any = None,
        *,
        stored: StoredTimes | None = None,
        anchor: datetime,
        now: datetime,
        prefix: str = "times",
        accepts_past: bool = False,
        problem_with_after: Callable[[Sequence[str]], str] = lambda names: "",
    ) -> None:
        """``anchor`` is the time from which intervals are counted.

        With ``accepts_past``, a single time may have passed, as it has for a schedule that is kept.
        """
        super().__init__(data, prefix=prefix, initial=initial_of(stored))
        self.times: StoredTimes | None = None
        self.rule: Rule | None = None
        self._stored, self._anchor, self._now = stored, anchor, now
        self._accepts_past, self._problem_with_after = accepts_past, problem_with_after
        kind: Any = self.fields["kind"]
        unit: Any = self.fields["unit"]
        if self.has_sun:
            kind.choices = [*KINDS, (SUN, "Solar event")]
        if isinstance(stored, IntervalTimes) and stored.period not in dict(UNITS):
            unit.choices = [*UNITS, (stored.period, stored.period)]

    @property
    def has_sun(self) -> bool:
        """Whether to offer solar events: if the schedule has one, or ephem is installed."""
        return isinstance(self._stored, SolarTimes) or solar.is_available()

    @property
    def is_once(self) -> bool:
        """Whether the schedule is due only once."""
        return isinstance(self.times, ClockedTimes)

    @staticmethod
    @cache
    def zones() -> list[str]:
        """Read once: hundreds of directory entries, on each page that has the form."""
        return sorted(name for name in available_timezones() if "/" in name or name == "UTC")

    def clean(self) -> dict[str, Any]:
        """Ignores the fields of other kinds."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        kind = data.get("kind")
        parsers = {
            CRON: self._cron,
            INTERVAL: self._interval,
            ONCE: self._once,
            SUN: self._sun,
            AFTER: self._chain,
        }
        self._ignore_other_kinds(kind)
        try:
            self.times = parsers[kind](data) if kind in parsers and not self.errors else None
            self.rule = stored_times.validated(self.times, self._anchor) if self.times else None
            if self.rule is not None:
                # Checks that the event occurs at all: it may not near the poles.
                self.rule.first_after(self._now)
        except RuleError as error:
            field = error.field if error.field in self.fields else "cron" if kind == CRON else "kind"
            self.add_error(field, str(error))
        except OverflowError:
            # There is no slot in the supported range of dates.
            pass
        if self.errors:
            self.times = self.rule = None
        return data

    def _ignore_other_kinds(self, kind: str | None) -> None:
        fields = {
            CRON: ("cron", "zone", "dialect"),
            INTERVAL: ("every", "unit"),
            ONCE: ("at", "zone"),
            AFTER: ("after", "after_failure"),
        }
        own = fields.get(kind or "", ("event", "latitude", "longitude"))
        for name in set(self.errors) - {*own, "kind"}:
            del self.errors[name]

    def _require(self, data: dict[str, Any], *names: str) -> bool:
        missing = [name for name in names if data.get(name) in (None, "")]
        for name in missing:
            self.add_error(name, self.fields[name].error_messages["required"])
        return not missing

    def _zone(self, data: dict[str, Any]) -> ZoneInfo | None:
        try:
            return zone_named(data["zone"])
        except RuleError as error:
            self.add_error("zone", str(error))
        return None

    def _cron(self, data: dict[str, Any]) -> StoredTimes | None:
        zone = self._zone(data) if self._require(data, "cron", "zone") else None
        dialect = Dialect(data.get("dialect") or self.initial.get("dialect", Dialect.CRON))
        return CronTimes(expression=data["cron"], zone=zone, dialect=dialect) if zone else None

    def _interval(self, data: dict[str, Any]) -> StoredTimes | None:
        if not self._require(data, "every", "unit"):
            return None
        return IntervalTimes(every=data["every"], period=data["unit"])

    def _once(self, data: dict[str, Any]) -> StoredTimes | None:
        zone = self._zone(data) if self._require(data, "at", "zone") else None
        if zone is None:
            return None
        if isinstance(self._stored, ClockedTimes) and {"at", "zone"}.isdisjoint(self.changed_data):
            # The field has no UTC offset, so it may be less precise than the stored time.
            return self._stored
        time = self._read_time(data["at"], zone)
        if time is not None and time <= self._now and not self._accepts_past:
            self.add_error("at", "This time is in the past, so the schedule would never start a run.")
        return ClockedTimes(at=time) if time else None

    def _read_time(self, text: str, zone: ZoneInfo) -> datetime | None:
        try:
            parsed = datetime.fromisoformat(text.strip())
            time = parsed.astimezone(UTC) if parsed.tzinfo else wallclock.to_utc(parsed, zone, fold=0)
        except (ValueError, OverflowError):
            self.add_error("at", INVALID_TIME)
            return None
        if time is None:
            self.add_error("at", f"This time does not exist in {zone}: it is skipped by a clock change.")
            return None
        try:
            validate_range(time)
        except forms.ValidationError as error:
            self.add_error("at", error)
            return None
        return time

    def _chain(self, data: dict[str, Any]) -> StoredTimes | None:
        names = {line.strip() for line in (data.get("after") or "").splitlines()} - {""}
        if not names:
            self.add_error("after", self.fields["after"].error_messages["required"])
            return None
        if problem := self._problem_with_after(sorted(names)):
            self.add_error("after", problem)
            return None
        return ChainTimes(after=tuple(sorted(names)), after_failure=bool(data.get("after_failure")))

    def _sun(self, data: dict[str, Any]) -> StoredTimes | None:
        if not self._require(data, "event", "latitude", "longitude"):
            return None
        return SolarTimes(event=data["event"], latitude=data["latitude"], longitude=data["longitude"])


def initial_of(stored: StoredTimes | None) -> dict[str, Any]:
    """What ``TimesForm`` shows of these times."""
    own = {"zone": timezone.get_default_timezone_name()}
    match stored:
        case CronTimes(expression=expression, zone=zone, dialect=dialect):
            return {"kind": CRON, "cron": expression, "zone": str(zone), "dialect": dialect.value}
        case IntervalTimes(every=every, period=period):
            return {**own, "kind": INTERVAL, "every": every, "unit": period}
        case ClockedTimes(at=at):
            local = at.astimezone(timezone.get_default_timezone())
            return {**own, "kind": ONCE, "at": local.replace(tzinfo=None).isoformat()}
        case SolarTimes():
            place = {"latitude": stored.latitude, "longitude": stored.longitude}
            return {**own, "kind": SUN, "event": stored.event, **place}
        case ChainTimes(after=after, after_failure=after_failure):
            return {**own, "kind": AFTER, "after": "\n".join(after), "after_failure": after_failure}
    return own
