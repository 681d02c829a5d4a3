"""The form for a schedule's calendars: what it leaves out, to what it is limited, and what happens then."""

from typing import Any

from django import forms
from django.forms.boundfield import BoundField
from django.utils.functional import cached_property

from jobledger.calendars.errors import CalendarError
from jobledger.calendars.use import CalendarUse, names_in
from jobledger.models import Calendar, CalendarKind, SchedulePolicy
from jobledger.models.schedule import LEFT_OUT_LABELS
from jobledger.schedules import calendars

PREFIX = "calendars"
_NO_SUCH_CALENDAR = "There is no calendar “%(value)s”: add it first."


def _calendars_field(label: str, help_text: str) -> "forms.ModelMultipleChoiceField[Calendar]":
    return forms.ModelMultipleChoiceField(
        label=label,
        queryset=Calendar.objects.all(),
        to_field_name="name",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": _NO_SUCH_CALENDAR},
        help_text=help_text,
    )


class CalendarsForm(forms.Form):
    """Which calendars the schedule uses. After ``is_valid``, its policy has the copy that beat reads."""

    not_on = _calendars_field("Not on", "Runs that fall on any of these are left out.")
    only_on = _calendars_field("Only on", "If any is selected, the schedule is due only on one of them.")
    left_out = forms.ChoiceField(
        label="Runs that calendars leave out",
        choices=LEFT_OUT_LABELS,
        help_text="Saturdays and Sundays are days like any other, unless one of these calendars says "
        "otherwise: to move runs to the next working day, leave out “sat, sun” as well.",
    )

    def __init__(self, data: Any = None, *, policy: SchedulePolicy) -> None:
        """``policy`` is the stored one, whose copy names the calendars."""
        initial = {**names_in(policy.calendars), "left_out": policy.left_out}
        super().__init__(data, initial=initial, prefix=PREFIX, label_suffix="", use_required_attribute=False)
        # An older page has no such field.
        self.fields["left_out"].required = False
        self._policy = policy

    @cached_property
    def fields_if_any(self) -> list[BoundField]:
        """The fields with their choices, which are read once; none if there are no calendars."""
        names = Calendar.objects.values_list("name", flat=True)
        choices = [(name, name) for name in names]
        for kind in CalendarKind:
            self.fields[kind].choices = choices  # type: ignore[attr-defined]
        return list(self) if choices else []

    @property
    def copy(self) -> str:
        """The copy for the schedule's policy; of a form that is not bound, the stored one."""
        if not self.is_bound:
            return self._policy.calendars
        return calendars.copy_of(self._chosen("not_on"), self._chosen("only_on"), self.left_out_choice)

    @property
    def left_out_choice(self) -> str:
        return self.cleaned_data.get("left_out") or self._policy.left_out

    @property
    def use(self) -> CalendarUse:
        """What it means for the schedule. Raises CalendarError."""
        return CalendarUse.read(self.copy)

    def clean(self) -> dict[str, Any]:
        """Rejects a calendar that is used in both ways, or cannot be evaluated."""
        data = super().clean() or self.cleaned_data
        both = {each.name for each in self._chosen("not_on")} & {
            each.name for each in self._chosen("only_on")
        }
        if both:
            self.add_error("only_on", f"Already left out: {', '.join(sorted(both))}.")
        try:
            CalendarUse.read(self.copy)
        except CalendarError as error:
            self.add_error("not_on", f"A calendar cannot be evaluated: {error}")
        return data

    def refuse_moving(self, error: str) -> None:
        """To be called if the timing does not allow the runs to be moved."""
        if error not in self.errors.get("left_out", ()):
            self.add_error("left_out", error)

    def save_links(self, schedule_id: int) -> None:
        """Store which calendars the schedule uses."""
        calendars.assign(schedule_id, self._chosen("not_on"), self._chosen("only_on"))

    def _chosen(self, name: str) -> list[Calendar]:
        return list(self.cleaned_data.get(name, ()))
