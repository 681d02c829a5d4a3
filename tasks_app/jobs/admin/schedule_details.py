"""What a schedule is beside its job and its times, as a form: name, switch, span and delivery."""

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin.moment_field import MomentField
from tasks_app.jobs.defining import json_text

NAMED = ("name", "enabled", "description")
SPAN = ("start_time", "expires", "one_off")
LARGEST = 2**31 - 1
"""The largest whole number that every database holds in such a field."""
DELIVERY = ("queue", "priority", "expire_seconds", "exchange", "routing_key", "headers")


class DetailsForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker alone
    """The fields of the schedule itself; its instance is the schedule as it would be saved."""

    class Meta:
        model = PeriodicTask
        fields = (*NAMED, *SPAN, *DELIVERY)
        labels: ClassVar[dict[str, Any]] = {
            "enabled": _("Switched on"),
            "start_time": _("Not before"),
            "expires": _("Not from"),
            "one_off": _("Only the next slot"),
            "queue": _("Queue"),
            "priority": _("Priority"),
            "expire_seconds": _("Message expires after (seconds)"),
            "headers": _("Message headers"),
        }
        help_texts: ClassVar[dict[str, Any]] = {
            "name": _("What people call it; runs carry this name."),
            "enabled": _("Switching on never starts a slot of the past."),
            "description": _("Why it is there, and whom to ask."),
            "start_time": _("The first moment at which it may be due; an interval counts from it."),
            "expires": _("From this moment on it is due no more."),
            "one_off": _("After it the schedule switches itself off."),
            "queue": _("Empty: the workers' default queue."),
            "priority": _("0 to 255; with Redis 0 is the highest."),
            "expire_seconds": _("A run that no worker has begun by then expires."),
            "exchange": "",
            "routing_key": "",
            "headers": _("A JSON object."),
        }
        error_messages: ClassVar[dict[str, Any]] = {
            "name": {"unique": _("There is a schedule with this name already.")},
        }
        field_classes: ClassVar[dict[str, Any]] = {"start_time": MomentField, "expires": MomentField}
        widgets: ClassVar[dict[str, Any]] = {
            "name": forms.TextInput(attrs={"class": "vTextField"}),
            "description": forms.Textarea(attrs={"rows": 2}),
            "headers": forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        }

    def clean_expire_seconds(self) -> int | None:
        """No more than the databases hold."""
        seconds: int | None = self.cleaned_data["expire_seconds"]
        if seconds is not None and seconds > LARGEST:
            raise ValidationError(_("At most %d.") % LARGEST)
        return seconds

    def clean_headers(self) -> str:
        """They are a JSON object."""
        text: str = self.cleaned_data["headers"] or "{}"
        try:
            is_object = isinstance(json_text.read(text), dict)
        except ValueError as error:
            raise ValidationError(_("This is not JSON: %s") % error) from error
        if not is_object:
            raise ValidationError(_("Write a JSON object, such as {}."))
        return text

    def clean(self) -> dict[str, Any]:
        """Judge what two fields say together."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        start, end = data.get("start_time"), data.get("expires")
        if start and end and end <= start:
            self.add_error("expires", _("This must be later than “Not before”: it would never be due."))
        if end and data.get("expire_seconds") is not None:
            self.add_error("expire_seconds", _("Give either this or the moment from which it is not due."))
        return data

    def validate_unique(self) -> None:
        """The name's. django-celery-beat also asks for times here, which a form of their own has."""
        try:
            Model.validate_unique(self.instance, exclude=self._get_validation_exclusions())  # type: ignore[attr-defined]  # not in the stubs
        except ValidationError as error:
            self._update_errors(error)  # type: ignore[attr-defined]  # not in the stubs
