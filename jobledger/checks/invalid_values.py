"""Values in the settings that users make in the admin which no form accepts.

Somebody has written them with SQL, or another version has. Whoever reads them goes on without them; here, the
rows are named. Those of schedules are named where these are evaluated.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.db.models import DurationField, Field, Model

from jobledger.escapes import escaped
from jobledger.jobs.json_text import excerpt, problem_with
from jobledger.models import AlertDestination, AlertRule, ApiToken, Feed, Pause, ScheduleCalendar
from jobledger.models.json_fields import ListField, ObjectField

MODELS: tuple[type[Model], ...] = (AlertDestination, AlertRule, ApiToken, Feed, Pause, ScheduleCalendar)
"""Those with few rows."""
HINT = "Correct it in the admin, or delete it. Until then, others are not affected."


def found() -> Iterator[CheckMessage]:
    """A warning for each."""
    for model in MODELS:
        for field in model._meta.concrete_fields:
            for row in _suspects(model, field):
                if problem := _problem(field, getattr(row, field.attname)):
                    what = f"The {model._meta.verbose_name} {row.pk} has an invalid {field.name}: {problem}."
                    yield checks.Warning(escaped(what), hint=HINT, id="jobledger.W034")


def _suspects(model: type[Model], field: "Field[Any, Any]") -> Iterator[Any]:
    """The rows of which the field may be invalid."""
    rows = model._default_manager.order_by("pk").only("pk", field.name)
    if field.choices:
        yield from rows.exclude(**{f"{field.name}__in": [value for value, _ in field.flatchoices]})
    elif isinstance(field, DurationField):
        yield from rows.filter(**{f"{field.name}__lt": timedelta(0)})
    elif isinstance(field, ListField | ObjectField):
        yield from rows


def _problem(field: "Field[Any, Any]", value: Any) -> str:
    if field.choices:
        return f"{excerpt(value)} is none of {', '.join(str(each) for each, _ in field.flatchoices)}"
    if isinstance(value, timedelta):
        return f"{value} is negative"
    return problem_with(value)
