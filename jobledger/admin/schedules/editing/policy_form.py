"""The form for a schedule's policy: how late, overlapping and failing runs are handled."""

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.forms.boundfield import BoundField

from jobledger.admin.fields import DurationField, StoredSecretField
from jobledger.admin.options.widgets import SecretText
from jobledger.conf import is_address
from jobledger.formats import duration_text
from jobledger.jobs.declaration import MAX_CATCH_UP, MAX_FAILURES, MAX_TIME_LIMIT, Concurrency
from jobledger.jobs.registry import Job
from jobledger.models import SchedulePolicy
from jobledger.schedules.stored_times import MAX_INTEGER

PREFIX = "policy"
LIMITS = ("max_live_per_schedule", "max_live")
TIME_LIMITS = ("time_limit", "time_limit_grace")
FAILURES = ("pause_after_failures", "failure_pause", "ping_url")


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker alone
    """How late, overlapping and failing runs are handled."""

    catch_up_limit = forms.IntegerField(
        label="Catch-up limit",
        min_value=1,
        max_value=MAX_CATCH_UP,
        help_text="With “run each of them”: the maximum number of missed runs to start, newest first.",
    )
    starting_deadline = DurationField(
        label="Start deadline",
        placeholder="no deadline",
        help_text="How late a run may still start. For example, 10 min or 2 h. Empty: no deadline.",
    )
    jitter = DurationField(
        label="Random delay (jitter)",
        placeholder="no delay",
        help_text=(
            "Delays every run of this schedule by the same random amount up to this, so that schedules due "
            "in the same minute do not all start at once. For example, 5 min. Empty: no delay."
        ),
    )

    time_limit = DurationField(
        label="Time limit",
        help_text="How long a run of this schedule may take. For example, 10 min. Empty: as the job says.",
    )
    time_limit_grace = DurationField(
        label="Time to clean up",
        shows_zero=True,
        help_text="How long it may take to end after its time limit or a cancel, before it is killed. Empty: "
        "as the job says.",
    )

    max_live_per_schedule = forms.IntegerField(
        label="Limit of this schedule's live runs",
        required=False,
        min_value=1,
        max_value=MAX_INTEGER,
        help_text="While so many of its runs are queued or running, further ones are skipped. Empty: the "
        "job's limit.",
    )
    max_live = forms.IntegerField(
        label="Limit of the job's live runs",
        required=False,
        min_value=1,
        max_value=MAX_INTEGER,
        help_text="The same for all runs of the job, however they were started.",
    )

    pause_after_failures = forms.IntegerField(
        label="Pause after failures",
        required=False,
        min_value=0,
        max_value=MAX_FAILURES,
        help_text="After so many failed runs in a row, it is paused. 0: never. Empty: as its job says.",
    )
    failure_pause = DurationField(
        label="Length of that pause",
        placeholder="until resumed",
        help_text="For example, 1 h. Empty: until a user resumes the schedule.",
    )
    ping_url = StoredSecretField(
        label="Ping URL",
        help_text="An external monitor, such as Healthchecks.io: it hears of starts, successes and failures.",
    )

    class Meta:
        model = SchedulePolicy
        fields = (
            "misfire",
            "catch_up_limit",
            "starting_deadline",
            "jitter",
            "concurrency",
            *TIME_LIMITS,
            *LIMITS,
            *FAILURES,
        )
        labels: ClassVar[dict[str, Any]] = {"concurrency": "If the previous run is still running"}
        help_texts: ClassVar[dict[str, Any]] = {
            "concurrency": "With “run each of them”, its runs wait for each other instead of being skipped."
        }

    def __init__(
        self, data: Any = None, *, instance: SchedulePolicy | None = None, job: Job | None = None
    ) -> None:
        """``job`` has the limits that apply where the schedule has none."""
        super().__init__(
            data, instance=instance, prefix=PREFIX, label_suffix="", use_required_attribute=False
        )
        self._job = job
        self._stored_url = self.instance.ping_url
        self.fields["ping_url"].widget.is_stored = bool(self._stored_url)
        if job is not None:
            for name in LIMITS:
                self.fields[name].widget.attrs["placeholder"] = getattr(job.declaration, name)
            for name in TIME_LIMITS:
                length = getattr(job.declaration, name)
                text = "no limit" if length is None else duration_text(length)
                self.fields[name].widget.attrs["placeholder"] = text

    @classmethod
    def unchecked(cls, data: Any, job: Job | None) -> "PolicyForm":
        """A form that shows the submitted limits without validating them, which would query the database."""
        policy = cls(job=job)
        shown = {name: data.get(policy.add_prefix(name)) for name in (*TIME_LIMITS, *LIMITS)}
        policy.initial = {**policy.initial, **shown}
        return policy

    @property
    def time_limits(self) -> list[BoundField]:
        """The fields for which the job has the values where the schedule has none."""
        return [self[name] for name in TIME_LIMITS]

    @property
    def limits(self) -> list[BoundField]:
        """The fields that depend on the job, and concern only schedules whose runs may overlap."""
        return [self[name] for name in LIMITS]

    @property
    def failures(self) -> list[BoundField]:
        """The fields that say what follows from failures."""
        return [self[name] for name in FAILURES]

    @property
    def others(self) -> list[BoundField]:
        return [field for field in self if field.name not in (*TIME_LIMITS, *LIMITS, *FAILURES)]

    @property
    def job_may_overlap(self) -> bool:
        """Whether the job itself allows overlap."""
        return self._job is not None and self._job.declaration.concurrency == Concurrency.ALLOW

    def ask_for_secrets_again(self) -> None:
        """To be called if the form is shown again, without the URL that was entered."""
        if self.cleaned_data.get("ping_url", "") != self._stored_url and "ping_url" not in self.errors:
            self.add_error("ping_url", "Enter it again: secrets are never sent back to the browser.")

    def clean_failure_pause(self) -> timedelta | None:
        """Empty and zero: until a user resumes the schedule."""
        return self.cleaned_data["failure_pause"] or None

    def clean_ping_url(self) -> str:
        """The new URL, or the stored one."""
        entered: SecretText = self.cleaned_data["ping_url"]
        url = StoredSecretField.merged(entered, self._stored_url)
        if url and not is_address(url):
            raise forms.ValidationError(
                "Enter an address such as https://hc-ping.com/…, without a user name."
            )
        return url

    def clean_time_limit(self) -> timedelta | None:
        """Rejects zero, with which every run would end at once."""
        limit = self.clean_time_limit_grace("time_limit")
        if limit == timedelta(0):
            raise forms.ValidationError("Must be greater than zero. Leave it empty for the job's limit.")
        return limit

    def clean_time_limit_grace(self, name: str = "time_limit_grace") -> timedelta | None:
        """Rejects what cannot be stored."""
        length: timedelta | None = self.cleaned_data[name]
        if length is not None and length > MAX_TIME_LIMIT:
            raise forms.ValidationError(f"Must not be longer than {MAX_TIME_LIMIT.days} days.")
        return length

    def clean_starting_deadline(self) -> timedelta | None:
        """Rejects zero, with which no run would ever start."""
        deadline: timedelta | None = self.cleaned_data["starting_deadline"]
        if deadline == timedelta(0):
            raise forms.ValidationError("Must be greater than zero. Leave it empty for no deadline.")
        return deadline

    def clean_jitter(self) -> timedelta:
        """Empty means no delay."""
        return self.cleaned_data["jitter"] or timedelta(0)
