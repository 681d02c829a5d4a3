"""The form for a schedule's target: a job with its options, or an ordinary Celery task with its arguments.

The options of a job are entered in a form generated from its parser, or as JSON. Both are validated in the
same way, and input in one mode is carried over to the other. A page shows the options of one job in one input
mode. If the user has since selected another job or input mode, the form is not *settled*: it is shown again,
and nothing is saved until the user has seen it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django_celery_beat.models import PeriodicTask

from jobledger.admin.options.form import OptionsForm, left_to_worker
from jobledger.admin.options.widgets import SecretInput
from jobledger.jobs import json_text, registry, secrets
from jobledger.jobs.options import OptionsError, check_bounds, validate_options
from jobledger.runs import ordinary_tasks
from jobledger.runs.ordinary_tasks import known_tasks
from jobledger.schedules.due import slot_runs

PREFIX = "target"
OTHER = ":"
"""The choice for ordinary Celery tasks. No job has this name."""
FORM, JSON = "form", "json"
INPUT_MODES = ((FORM, "Form"), (JSON, "JSON"))


@dataclass(frozen=True, kw_only=True)
class StoredTarget:
    task: str = ""
    args: Any = ()
    options: Any = None
    unreadable: str = ""
    """The stored keyword arguments if they are not a JSON object."""

    @property
    def job(self) -> registry.Job | None:
        """None for an ordinary Celery task."""
        return registry.of_task(self.task)

    def options_of(self, job: registry.Job) -> dict[str, Any]:
        """The stored options if this job is the target, otherwise empty."""
        return self.options or {} if self.task == job.task_name else {}

    @property
    def masked_options(self) -> dict[str, Any]:
        return secrets.masked(self.job.name if self.job else self.task, self.options or {})

    @property
    def masked_unreadable(self) -> str:
        """The stored text that is not a JSON object, with secrets masked."""
        return secrets.masked_text(self.job.name if self.job else self.task, self.unreadable)

    @property
    def masked_args(self) -> list[Any]:
        return secrets.masked_args(self.args)


def stored_target(schedule: PeriodicTask | None) -> StoredTarget:
    """The schedule's target; empty for a new schedule."""
    if schedule is None:
        return StoredTarget()
    options, args = _parse_json(schedule.kwargs, dict), _parse_json(schedule.args, list)
    return StoredTarget(
        task=schedule.task,
        args=[] if args is None else args,
        options=options,
        unreadable=schedule.kwargs if options is None else "",
    )


class TargetChoice(forms.Form):
    """Selects the target and the input mode of its options."""

    job = forms.ChoiceField(label="Job")
    shown_job = forms.CharField(required=False, widget=forms.HiddenInput)
    input_mode = forms.ChoiceField(
        label="Options", choices=INPUT_MODES, required=False, widget=forms.RadioSelect
    )
    shown_input_mode = forms.CharField(required=False, widget=forms.HiddenInput)
    task = forms.CharField(
        label="Celery task",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"list": "tasks", "class": "vTextField", "spellcheck": "false"}),
        help_text=(
            "The full name of the task. Tasks of other services must be listed in SCHEDULABLE_TASKS; how "
            "they end is read from Celery's result backend, if they store their results there."
        ),
    )
    args = forms.CharField(
        label="Positional arguments",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="A JSON array.",
    )
    kwargs = forms.CharField(
        label="Options (JSON)",
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text="A JSON object. Asterisks represent a stored secret; leave them unchanged to keep it.",
    )

    def __init__(self, data: Any = None, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, prefix=PREFIX, initial=initial, label_suffix="")
        job: Any = self.fields["job"]
        job.choices = _job_choices()


class TargetForm:
    """After ``is_valid``, the target is in ``task``, ``args`` and ``options``."""

    def __init__(self, data: Any = None, *, stored: StoredTarget | None = None, job_name: str = "") -> None:
        """Filled in from ``data``, the stored target or ``job_name``, in this order."""
        self.stored = stored or StoredTarget()
        self.is_bound = data is not None
        selected = _selected(data, self.stored, job_name)
        self.job = registry.all_jobs().get(selected)
        self.is_ordinary_task = selected == OTHER
        self.input_mode = (_submitted(data, "input_mode", FORM) or FORM) if self.job else JSON
        self._is_same_job = data is None or data.get(f"{PREFIX}-shown_job") == selected
        self._is_same_input_mode = data is None or data.get(f"{PREFIX}-shown_input_mode") == self.input_mode
        self.is_settled = self._is_same_job and (self._is_same_input_mode or self.job is None)
        self.task = self.job.task_name if self.job else ""
        self.args: list[Any] = []
        self.options: dict[str, Any] = {}
        carried = self._carried_over(data)
        posted = data if self.is_settled else None
        self.options_form = self._options_form(posted, carried)
        self.choice = TargetChoice(posted, initial=self._initial(selected, carried))

    @property
    def tasks(self) -> list[str]:
        """The ordinary Celery tasks of this project that may be scheduled."""
        jobs = {job.task_name for job in registry.all_jobs().values()}
        return sorted(name for name in self._schedulable if name not in jobs)

    @property
    def _schedulable(self) -> list[str]:
        return [name for name in known_tasks() if not ordinary_tasks.why_not_schedulable(name)]

    @property
    def has_typed_secret(self) -> bool:
        """Whether a secret was entered. It is not sent back to the browser."""
        form = self.options_form
        if form is None or not form.is_bound:
            return False
        inputs = (name for name, field in form.fields.items() if isinstance(field.widget, SecretInput))
        return any(form[name].data.text for name in inputs)

    @property
    def unreadable(self) -> str:
        """Stored options that the form cannot show and saving would therefore remove."""
        is_shown = self.options_form is None or self.is_bound or self.task != self.stored.task
        return "" if is_shown else self.stored.masked_unreadable

    def is_valid(self) -> bool:
        """Errors are attached to their fields."""
        if not (self.is_bound and self.is_settled and self.choice.is_valid()):
            return False
        if self.options_form is not None:
            is_valid = self.options_form.is_valid()
            self.options = self.options_form.options
            return is_valid
        self._read_json()
        return not self.choice.errors

    @property
    def left_to_worker(self) -> list[str]:
        """A sentence for each valid option that only a worker can validate."""
        return left_to_worker(self.job.create_parser(), self.options) if self.job else []

    def _options_form(self, posted: Any, carried: dict[str, Any] | None) -> OptionsForm | None:
        if self.job is None or self.input_mode != FORM:
            return None
        options = self.stored.options_of(self.job) if carried is None else carried
        return OptionsForm(self.job, options, posted)

    def _initial(self, selected: str, carried: dict[str, Any] | None) -> dict[str, Any]:
        choice = {
            "job": selected,
            "shown_job": selected,
            "input_mode": self.input_mode,
            "shown_input_mode": self.input_mode,
        }
        if self.job is None:
            own = self.stored if self.stored.job is None else StoredTarget()
            kwargs = own.masked_unreadable or json_text.format_for_editing(own.masked_options)
            args = json_text.format_for_editing(own.masked_args)
            return {**choice, "task": own.task, "args": args, "kwargs": kwargs}
        options = self.stored.options_of(self.job) if carried is None else carried
        shown = json_text.format_for_editing(secrets.masked(self.job.name, options))
        is_unreadable = carried is None and self.task == self.stored.task
        return {**choice, "kwargs": (is_unreadable and self.stored.masked_unreadable) or shown}

    def _carried_over(self, data: Any) -> dict[str, Any] | None:
        """The input from the other input mode; None if there is none or it is not valid."""
        if self.job is None or self._is_same_input_mode or not self._is_same_job:
            return None
        stored = self.stored.options_of(self.job)
        if self.input_mode == JSON:
            form = OptionsForm(self.job, stored, data)
            form.is_valid()
            return form.options
        try:
            return _unmasked_object(
                data.get(f"{PREFIX}-kwargs"), stored, secrets.masked(self.job.name, stored)
            )
        except ValueError:
            return None

    def _read_json(self) -> None:
        data = self.choice.cleaned_data
        if self.is_ordinary_task:
            self.task = data["task"]
            if not self.task:
                self.choice.add_error("task", self.choice.fields["job"].error_messages["required"])
        stored = self.stored if self.stored.task == self.task else StoredTarget()
        self._read("kwargs", "options", stored.options or {}, stored.masked_options)
        if self.is_ordinary_task:
            self._read("args", "args", stored.args, stored.masked_args)
        if not self.choice.errors:
            self._validate()

    def _read(self, field: str, name: str, stored: Any, masked: Any) -> None:
        read = _unmasked_object if field == "kwargs" else _unmasked_list
        try:
            setattr(self, name, read(self.choice.cleaned_data[field], stored, masked))
        except ValueError as error:
            self.choice.add_error(field, str(error))

    def _validate(self) -> None:
        try:
            if self.job is not None:
                validate_options(self.job.create_validating_parser(), self.options)
            elif (job := registry.of_task(self.task)) is not None:
                self.choice.add_error(
                    "task",
                    f"This task belongs to the job {job.name}. Select that job instead, "
                    "so that its options are validated.",
                )
            else:
                check_bounds(self.options)
                check_bounds(self.args, "the positional arguments")
                slot_runs.target_of(PeriodicTask(task=self.task, args="[]", kwargs="{}"))
        except OptionsError as error:
            name = self.job.name if self.job else self.task
            self.choice.add_error("kwargs", secrets.without_secrets(name, self.options, str(error)))
        except slot_runs.BrokenScheduleError as error:
            hint = registry.suggestion(self.task, self._schedulable)
            self.choice.add_error("task", f"{error}. {hint}".rstrip())


def selected_job(data: Any, stored: StoredTarget, job_name: str = "") -> registry.Job | None:
    """The job that a form filled in like this has selected; None for an ordinary task."""
    return registry.all_jobs().get(_selected(data, stored, job_name))


def _selected(data: Any, stored: StoredTarget, job_name: str) -> str:
    own = stored.job.name if stored.job else OTHER if stored.task else job_name
    return _submitted(data, "job", own)


def _job_choices() -> Iterator[tuple[str, Any]]:
    yield "", "Choose a job"
    for job in registry.all_jobs().values():
        yield job.name, f"{job.name}: {job.summary}" if job.summary else job.name
    yield OTHER, "Another Celery task…"


def _submitted(data: Any, name: str, default: str) -> str:
    return default if data is None else str(data.get(f"{PREFIX}-{name}") or "")


def _unmasked_object(text: str | None, stored: Any, masked: Any) -> dict[str, Any]:
    value = json_text.parse(text or "{}")
    if not isinstance(value, dict):
        raise ValueError('The options must be a JSON object, for example {"days": 7}')
    unmasked: dict[str, Any] = secrets.unmasked(value, stored, masked)
    return unmasked


def _unmasked_list(text: str | None, stored: Any, masked: Any) -> list[Any]:
    value = json_text.parse(text or "[]")
    if not isinstance(value, list):
        raise ValueError("The positional arguments must be a JSON array, for example [1, 2]")
    unmasked: list[Any] = secrets.unmasked(value, stored, masked)
    return unmasked


def _parse_json(text: str, kind: type) -> Any:
    try:
        value = json_text.parse(text or json.dumps(kind()))
    except ValueError:
        return None
    return value if isinstance(value, kind) else None
