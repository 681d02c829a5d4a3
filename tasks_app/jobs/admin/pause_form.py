"""What is asked before something is paused: for how long, why, and what becomes of its slots."""

from datetime import datetime, timedelta

from django import forms
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tasks_app.jobs.admin import moments
from tasks_app.jobs.admin.moment_field import MomentField
from tasks_app.jobs.admin.rights import User
from tasks_app.jobs.models import Pause
from tasks_app.jobs.scheduling.pausing import Terms
from tasks_app.jobs.scheduling.policy import PausedSlots

LENGTHS = {
    "15min": (_("for 15 minutes"), timedelta(minutes=15)),
    "1h": (_("for 1 hour"), timedelta(hours=1)),
    "4h": (_("for 4 hours"), timedelta(hours=4)),
    "1d": (_("for 1 day"), timedelta(days=1)),
    "7d": (_("for 7 days"), timedelta(days=7)),
}
OPEN, MOMENT = "open", "moment"


class PauseForm(forms.Form):
    """The terms of a pause. ``now`` is when it begins."""

    length = forms.ChoiceField(
        label=_("How long"),
        choices=[
            *((value, words) for value, (words, _length) in LENGTHS.items()),
            (OPEN, _("until somebody resumes it")),
            (MOMENT, _("until the moment below")),
        ],
        initial="1h",
    )
    until = MomentField(label=_("Until"), required=False)
    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=Pause._meta.get_field("reason").max_length,
        help_text=_("Kept with the pause and with the slots that it stops."),
    )
    on_resume = forms.ChoiceField(
        label=_("Slots in the pause"),
        choices=Pause._meta.get_field("on_resume").choices or (),
        initial=PausedSlots.SKIP,
    )

    def __init__(self, data: object = None, *, now: datetime) -> None:
        """Ask; or, with data, judge what was answered."""
        super().__init__(data, label_suffix="")  # type: ignore[arg-type]  # the stubs want a dict
        self.now = now
        zone = timezone.get_current_timezone_name()
        self.fields["until"].help_text = _("Only with “until the moment below”. In %(zone)s.") % {
            "zone": zone
        }

    def clean_until(self) -> datetime | None:
        """Wanted only where it was chosen, and then after now."""
        until: datetime | None = self.cleaned_data["until"]
        if self.cleaned_data.get("length") != MOMENT:
            return None
        if until is None:
            raise forms.ValidationError(_("Say until when."))
        if until <= self.now:
            raise forms.ValidationError(
                _("%(moment)s is not in the future.") % {"moment": moments.exact(until)}
            )
        return until

    def terms(self, user: User) -> Terms:
        """What was answered, by whom."""
        chosen, until = self.cleaned_data["length"], self.cleaned_data["until"]
        if chosen in LENGTHS:
            until = (self.now + LENGTHS[chosen][1]).replace(microsecond=0)
        return Terms(
            until=until,
            reason=self.cleaned_data["reason"],
            who=user.get_username(),
            user=None if isinstance(user, AnonymousUser) else user,
            on_resume=PausedSlots(self.cleaned_data["on_resume"]),
        )
