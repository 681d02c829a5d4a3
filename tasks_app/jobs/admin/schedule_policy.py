"""What happens to slots that cannot start on time, as a form in an operator's words."""

from datetime import timedelta

from django import forms
from django.utils.translation import gettext_lazy as _

from tasks_app.jobs.admin.lengths import LengthField
from tasks_app.jobs.defining.declaration import Concurrency, Misfire
from tasks_app.jobs.models import SchedulePolicy

MISFIRE = (
    (Misfire.ONCE, _("run once for all of them")),
    (Misfire.SKIP, _("leave them out")),
    (Misfire.ALL, _("run each of them")),
)
CONCURRENCY = (
    ("", _("as the job says")),
    (Concurrency.FORBID, _("leave the slot out")),
    (Concurrency.QUEUE, _("wait until the job has ended")),
    (Concurrency.REPLACE, _("cancel the running one and start")),
    (Concurrency.ALLOW, _("start beside it")),
)


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker alone
    """The choices of one schedule."""

    misfire = forms.ChoiceField(
        label=_("Missed slots"),
        choices=MISFIRE,
        help_text=_("Slots that passed while nothing could start them, because beat was down for example."),
    )
    catch_up_limit = forms.IntegerField(
        label=_("At most"),
        min_value=1,
        max_value=1_000_000,
        help_text=_("Where each missed slot runs: how many of them, the newest."),
    )
    starting_deadline = LengthField(
        label=_("Start within"),
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": _("any time")}),
        help_text=_(
            "A slot that could not start for so long is given up. Such as 10 min, 2 h; "
            "empty: it starts however late."
        ),
    )
    jitter = LengthField(
        label=_("Spread over"),
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": _("none")}),
        help_text=_(
            "Starts every slot later by a fixed part of this length, so that many schedules of the same "
            "minute do not start together. Such as 5 min; empty: on the dot."
        ),
    )
    concurrency = forms.ChoiceField(label=_("While the job still runs"), choices=CONCURRENCY, required=False)

    class Meta:
        model = SchedulePolicy
        fields = ("misfire", "catch_up_limit", "starting_deadline", "jitter", "concurrency")

    def clean_starting_deadline(self) -> timedelta | None:
        """No time at all would let nothing start."""
        deadline: timedelta | None = self.cleaned_data["starting_deadline"]
        if deadline == timedelta(0):
            raise forms.ValidationError(_("In no time nothing could start; leave it empty for any time."))
        return deadline

    def clean_jitter(self) -> timedelta:
        """Empty is none."""
        return self.cleaned_data["jitter"] or timedelta(0)
