"""Rules: which alerts are sent to which destinations."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat.models import PeriodicTask

from jobledger.admin.alerts.audited import Audited
from jobledger.admin.fields import DurationField
from jobledger.alerts.rules import nameable
from jobledger.formats import duration_text
from jobledger.jobs import registry
from jobledger.jobs.declaration import AlertKind
from jobledger.models import AlertRule
from jobledger.models.alert import default_kinds

KINDS = (
    (AlertKind.FAILED, "failed"),
    (AlertKind.TIMED_OUT, "timed out"),
    (AlertKind.LOST, "lost: its process died"),
    (AlertKind.MISSED, "missed: not started in time"),
    (AlertKind.LATE, "late: queued for too long"),
    (AlertKind.SLOW, "slow: takes longer than expected"),
    (AlertKind.SILENT, "silent: no success for too long"),
    (AlertKind.PAUSED, "paused after failures"),
    (AlertKind.RECOVERED, "recovered"),
    (AlertKind.CANCELLED, "cancelled"),
    (AlertKind.SKIPPED, "skipped"),
)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker alone
    job = forms.ChoiceField(required=False, help_text="A rule for one job replaces the rules for all jobs.")
    schedule = forms.ModelChoiceField(
        queryset=PeriodicTask.objects.all(),
        to_field_name="name",
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="A rule for one schedule replaces those for its job. Empty: all schedules.",
        error_messages={"invalid_choice": "There is no schedule with this name."},
    )
    kinds = forms.MultipleChoiceField(
        label="Alert on",
        choices=KINDS,
        initial=default_kinds,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="If none is selected, the job or schedule is silenced.",
    )
    late_after = DurationField(
        label="Late after",
        help_text="How long a run may be queued. For example, 10 min. Empty: any time.",
    )
    success_within = DurationField(
        label="Success within",
        help_text="How long a schedule may go without a success, such as 2 d. Empty: as its job says.",
    )

    class Meta:
        model = AlertRule
        fields = (
            "name",
            "enabled",
            "job",
            "schedule",
            "kinds",
            "after_failures",
            "every_failure",
            "late_after",
            "success_within",
            "include_attended",
            "frequency",
            "destinations",
        )
        widgets: ClassVar[dict[str, Any]] = {"destinations": forms.CheckboxSelectMultiple}
        help_texts: ClassVar[dict[str, Any]] = {"destinations": "If none is selected, nobody is notified."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = {*registry.all_jobs(), self.instance.job} - {""}
        if "destinations" in self.fields:
            self.fields["destinations"].queryset = nameable()  # type: ignore[attr-defined]
        self.fields["job"].choices = [("", "all jobs"), *((name, name) for name in sorted(names))]  # type: ignore[attr-defined]

    def clean(self) -> None:
        """A schedule has one job already."""
        super().clean()  # without it, Django does not validate that the name is unique
        if self.cleaned_data.get("job") and self.cleaned_data.get("schedule"):
            self.add_error("job", "Choose a job or a schedule, not both.")


class RuleAdmin(Audited):
    form = RuleForm
    change_form_template = "jobledger/alerts/form.html"
    list_display = ("name", "about", "alerts_on", "to", "enabled")
    fieldsets = (
        (None, {"fields": ("name", "enabled")}),
        ("Runs", {"fields": ("job", "schedule", "include_attended")}),
        (
            "Alerts",
            {"fields": ("kinds", "after_failures", "every_failure", "late_after", "success_within")},
        ),
        ("Delivery", {"fields": ("frequency", "destinations")}),
    )

    readonly_fields = ("about",)

    def get_fieldsets(self, request: HttpRequest, obj: AlertRule | None = None) -> Any:
        """To viewers, Django would show a schedule with a link and its times, which may be unreadable."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        about = ("Runs", {"fields": ("about", "include_attended")})
        return [about if title == "Runs" else (title, fields) for title, fields in fieldsets]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("schedule").prefetch_related("destinations")

    @admin.display(description="runs of")
    def about(self, rule: AlertRule) -> str:
        if rule.schedule is not None:
            return f"schedule {rule.schedule.name}"
        return f"job {rule.job}" if rule.job else "all jobs"

    @admin.display(description="alerts on")
    def alerts_on(self, rule: AlertRule) -> str:
        return ", ".join(text.partition(":")[0] for kind, text in KINDS if kind in rule.kinds) or "nothing"

    @admin.display(description="destinations")
    def to(self, rule: AlertRule) -> str:
        return ", ".join(destination.name for destination in rule.destinations.all()) or "nobody"

    def readable(self, obj: AlertRule) -> dict[str, str]:
        return {
            "Name": obj.name,
            "Enabled": "yes" if obj.enabled else "no",
            "Runs of": self.about(obj),
            "Alert on": self.alerts_on(obj),
            "After failures": str(obj.after_failures),
            "Every failure": "yes" if obj.every_failure else "no",
            "Late after": duration_text(obj.late_after) if obj.late_after else "",
            "Success within": duration_text(obj.success_within) if obj.success_within else "",
            "Include attended runs": "yes" if obj.include_attended else "no",
            "Frequency": obj.get_frequency_display(),
            "Destinations": self.to(obj),
        }
