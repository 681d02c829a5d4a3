"""When a schedule is due, as a form: one field of cron with its zone, an interval, or one moment.

What is wrong stands beside the field that is wrong, in the words of the rule that refused it. The sun's
times are offered to a schedule that has them; they are not given to others.
"""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tasks_app.jobs.admin.moment_field import NO_MOMENT, MomentInput, refuse_beyond
from tasks_app.jobs.scheduling import stored_times, wallclock
from tasks_app.jobs.scheduling.slots import Rule, RuleError, zone_named
from tasks_app.jobs.scheduling.solar import EVENTS
from tasks_app.jobs.scheduling.stored_times import (
    CronTimes,
    IntervalTimes,
    OneMoment,
    StoredTimes,
    SunTimes,
)

CRON, INTERVAL, MOMENT, SUN = "cron", "interval", "moment", "sun"
KINDS = ((CRON, _("By cron")), (INTERVAL, _("At an interval")), (MOMENT, _("Once")))
UNITS = (
    ("seconds", _("seconds")),
    ("minutes", _("minutes")),
    ("hours", _("hours")),
    ("days", _("days")),
)

# Which field of the form is wrong when the rule says that one of its own is.
_FIELDS = {"every": "every", "at": "at", "event": "event", "latitude": "latitude", "longitude": "longitude"}


class TimesForm(forms.Form):
    """After ``is_valid`` the times are in ``times`` and their rule in ``rule``."""

    kind = forms.ChoiceField(label=_("Due"), choices=KINDS, initial=CRON, widget=forms.RadioSelect)
    cron = forms.CharField(
        label=_("Cron"),
        required=False,
        max_length=600,
        widget=forms.TextInput(attrs={"placeholder": "30 3 * * 1-5", "class": "cron"}),
        help_text=_(
            "Minute, hour, day of month, month, day of week, as Debian's cron reads them; "
            "names (mon-fri), @daily and L (last) as well."
        ),
    )
    every = forms.IntegerField(label=_("Every"), required=False, min_value=1, max_value=1_000_000_000)
    unit = forms.ChoiceField(label=_("Unit"), choices=UNITS, required=False, initial="minutes")
    at = forms.CharField(
        label=_("Moment"),
        required=False,
        widget=MomentInput(),
        help_text=_("By the clock of the time zone."),
    )
    zone = forms.CharField(
        label=_("Time zone"),
        required=False,
        widget=forms.TextInput(attrs={"list": "zones", "placeholder": "Europe/London"}),
        help_text=_(
            "A name such as Europe/London. The time of day keeps to its clock, also when that changes."
        ),
    )
    event = forms.ChoiceField(label=_("Event"), choices=[(name, name) for name in EVENTS], required=False)
    latitude = forms.DecimalField(label=_("Degrees north"), required=False, max_digits=9, decimal_places=6)
    longitude = forms.DecimalField(label=_("Degrees east"), required=False, max_digits=9, decimal_places=6)

    def __init__(
        self,
        data: Any = None,
        *,
        stored: StoredTimes | None = None,
        anchor: datetime,
        now: datetime,
        prefix: str = "times",
    ) -> None:
        """``anchor`` is what an interval counts from."""
        super().__init__(data, prefix=prefix, initial=_shown(stored))
        self.times: StoredTimes | None = None
        self.rule: Rule | None = None
        self._stored, self._anchor, self._now = stored, anchor, now
        kind: Any = self.fields["kind"]
        unit: Any = self.fields["unit"]
        if isinstance(stored, SunTimes):
            kind.choices = [*KINDS, (SUN, _("By the sun"))]
        if isinstance(stored, IntervalTimes) and stored.period not in dict(UNITS):
            unit.choices = [*UNITS, (stored.period, stored.period)]

    @property
    def has_sun(self) -> bool:
        """Whether the sun is offered."""
        return isinstance(self._stored, SunTimes)

    @property
    def is_one_moment(self) -> bool:
        """Whether it is due once."""
        return isinstance(self.times, OneMoment)

    @staticmethod
    def zones() -> list[str]:
        """The names to choose from."""
        return sorted(name for name in available_timezones() if "/" in name or name == "UTC")

    def clean(self) -> dict[str, Any]:
        """Read the fields of the chosen kind; what stands in the others does not count."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        kind = data.get("kind")
        read = {CRON: self._cron, INTERVAL: self._interval, MOMENT: self._moment, SUN: self._sun}
        self._forgive_others(kind)
        try:
            self.times = read[kind](data) if kind in read and not self.errors else None
            self.rule = stored_times.rule_of(self.times, self._anchor) if self.times else None
            if self.rule is not None:
                # A place near a pole may have no such event, which is found out by looking.
                self.rule.first_after(self._now)
        except RuleError as error:
            self.add_error(_FIELDS.get(error.field, "cron" if kind == CRON else "kind"), str(error))
        except OverflowError:
            # There is no slot as far as moments can be told.
            pass
        if self.errors:
            self.times = self.rule = None
        return data

    def _forgive_others(self, kind: str | None) -> None:
        mine = {CRON: ("cron", "zone"), INTERVAL: ("every", "unit"), MOMENT: ("at", "zone")}
        own = mine.get(kind or "", ("event", "latitude", "longitude"))
        for name in set(self.errors) - {*own, "kind"}:
            del self.errors[name]

    def _needed(self, data: dict[str, Any], *names: str) -> bool:
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
        zone = self._zone(data) if self._needed(data, "cron", "zone") else None
        return CronTimes(expression=data["cron"], zone=zone) if zone else None

    def _interval(self, data: dict[str, Any]) -> StoredTimes | None:
        if not self._needed(data, "every", "unit"):
            return None
        return IntervalTimes(every=data["every"], period=data["unit"])

    def _moment(self, data: dict[str, Any]) -> StoredTimes | None:
        zone = self._zone(data) if self._needed(data, "at", "zone") else None
        if zone is None:
            return None
        if isinstance(self._stored, OneMoment) and {"at", "zone"}.isdisjoint(self.changed_data):
            # What the field shows may be less than the moment: it has no offset.
            return self._stored
        moment = self._read_moment(data["at"], zone)
        if moment is not None and moment <= self._now:
            self.add_error("at", _("This moment has passed: nothing would ever start."))
        return OneMoment(at=moment) if moment else None

    def _read_moment(self, text: str, zone: ZoneInfo) -> datetime | None:
        try:
            found = datetime.fromisoformat(text.strip())
            moment = found.astimezone(UTC) if found.tzinfo else wallclock.moment_of(found, zone, fold=0)
        except (ValueError, OverflowError):
            self.add_error("at", NO_MOMENT)
            return None
        if moment is None:
            self.add_error(
                "at", _("The clock of %(zone)s leaps over this time on that day.") % {"zone": zone}
            )
            return None
        try:
            refuse_beyond(moment)
        except forms.ValidationError as error:
            self.add_error("at", error)
            return None
        return moment

    def _sun(self, data: dict[str, Any]) -> StoredTimes | None:
        if not self._needed(data, "event", "latitude", "longitude"):
            return None
        return SunTimes(event=data["event"], latitude=data["latitude"], longitude=data["longitude"])


def _shown(stored: StoredTimes | None) -> dict[str, Any]:
    """What the fields show of stored times."""
    own = {"zone": timezone.get_default_timezone_name()}
    match stored:
        case CronTimes(expression=expression, zone=zone):
            return {"kind": CRON, "cron": expression, "zone": str(zone)}
        case IntervalTimes(every=every, period=period):
            return {**own, "kind": INTERVAL, "every": every, "unit": period}
        case OneMoment(at=at):
            local = at.astimezone(timezone.get_default_timezone())
            return {**own, "kind": MOMENT, "at": local.replace(tzinfo=None).isoformat()}
        case SunTimes():
            place = {"latitude": stored.latitude, "longitude": stored.longitude}
            return {**own, "kind": SUN, "event": stored.event, **place}
    return own
