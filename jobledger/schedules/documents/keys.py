"""The keys of a schedule's document, with what each may contain.

Most of them are columns of the schedule, its policy or an alert rule, and have their names and defaults, so
that a new column is part of every document at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from django.db import models
from django_celery_beat.models import PeriodicTask

from jobledger.formats import duration_text
from jobledger.models import AlertRule, SchedulePolicy

Document = Mapping[str, Any]
"""A schedule, or an alert rule, as a JSON object. What it leaves out has its default."""


class Kind(Enum):
    """What a key contains. The value says so to users."""

    TEXT = "a text"
    FLAG = "true or false"
    INTEGER = "a whole number"
    NUMBER = "a number"
    OBJECT = "an object"
    LIST = "a list"
    NAMES = "a list of texts"


_TYPES: Mapping[Kind, tuple[type, ...]] = {
    Kind.TEXT: (str,),
    Kind.FLAG: (bool,),
    Kind.INTEGER: (int,),
    Kind.NUMBER: (int, float),
    Kind.OBJECT: (dict,),
    Kind.LIST: (list,),
    Kind.NAMES: (list,),
}


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of a document."""

    kind: Kind
    default: Any = None

    def accepts(self, value: Any) -> bool:
        """Whether a JSON value is of the right type."""
        if isinstance(value, bool) and self.kind is not Kind.FLAG:
            return False
        is_typed = isinstance(value, _TYPES[self.kind])
        return is_typed and (self.kind is not Kind.NAMES or all(isinstance(each, str) for each in value))

    def json(self, stored: Any) -> Any:
        """A column's value as JSON."""
        match stored:
            case None:
                return self.default
            case timedelta():
                return duration_text(stored)
            case datetime():
                return time_text(stored)
            case str():
                # As a browser sends it back.
                return str(stored).replace("\r\n", "\n").strip()
        return stored


TEXT, OBJECT = Key(kind=Kind.TEXT, default=""), Key(kind=Kind.OBJECT, default={})
NUMBER = Key(kind=Kind.NUMBER)

_KINDS: Mapping[type[Any], Kind] = {
    models.BooleanField: Kind.FLAG,
    models.IntegerField: Kind.INTEGER,
    models.CharField: Kind.TEXT,
    models.TextField: Kind.TEXT,
    models.DurationField: Kind.TEXT,
    models.DateTimeField: Kind.TEXT,
    models.JSONField: Kind.NAMES,
    models.ManyToManyField: Kind.NAMES,
}


def time_text(time: datetime) -> str:
    """ISO 8601, in UTC."""
    return time.astimezone(UTC).isoformat()


def _key(column: Any) -> Key:
    kind = next(kind for model, kind in _KINDS.items() if isinstance(column, model))
    if isinstance(column, models.ManyToManyField):
        return Key(kind=kind, default=[])
    empty = Key(kind=kind, default="" if kind is Kind.TEXT else None)
    return Key(kind=kind, default=empty.json(column.get_default()))


def _keys(model: type[models.Model], names: Iterable[str]) -> dict[str, Key]:
    return {name: _key(model._meta.get_field(name)) for name in names}


def _names(model: type[models.Model], *, without: set[str]) -> list[str]:
    columns = (*model._meta.concrete_fields, *model._meta.many_to_many)
    return [column.name for column in columns if column.name not in without]


OWN_KEYS = _keys(PeriodicTask, ("enabled", "description", "start_time", "expires", "one_off"))
DELIVERY_KEYS = _keys(PeriodicTask, ("queue", "priority", "expire_seconds", "exchange", "routing_key"))
# Those that users do not edit are kept apart: the timing's, and the origin.
_NOT_IN_POLICY = {"schedule", "anchor", "dialect", "imported_line", "calendars", "left_out", "after"}
POLICY_KEYS = _keys(SchedulePolicy, _names(SchedulePolicy, without=_NOT_IN_POLICY))
NAMES = Key(kind=Kind.NAMES, default=[])
CALENDAR_KEYS = {"not_on": NAMES, "only_on": NAMES, **_keys(SchedulePolicy, ["left_out"])}
RULE_KEYS = _keys(AlertRule, _names(AlertRule, without={"id", "name", "job", "schedule"}))
"""Those of an alert rule about the schedule."""

DEFINITION_KEYS = {"description": TEXT, "entries": NAMES}
"""Those of a calendar itself."""

SOLAR_KEYS = {"event": TEXT, "latitude": NUMBER, "longitude": NUMBER}
TIMING_KEYS = {
    "cron": TEXT,
    "timezone": TEXT,
    "every": TEXT,
    "at": TEXT,
    "solar": OBJECT,
    "after": NAMES,
    "after_failure": Key(kind=Kind.FLAG, default=False),
    "dialect": Key(kind=Kind.TEXT, default="cron"),
    "anchor": TEXT,
}
ORIGIN_KEYS = {"declared_as": TEXT, "imported_line": TEXT}
"""Where it comes from, which a stored schedule keeps."""
KEYS: Mapping[str, Key] = {
    "job": TEXT,
    "task": TEXT,
    "args": Key(kind=Kind.LIST, default=[]),
    "options": OBJECT,
    **TIMING_KEYS,
    **OWN_KEYS,
    **DELIVERY_KEYS,
    "headers": OBJECT,
    **POLICY_KEYS,
    **CALENDAR_KEYS,
    "alert_rules": OBJECT,
    **ORIGIN_KEYS,
}
"""Those of a schedule, in the order in which they are written."""


def without_defaults(values: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """The values that are not the default, in the order of the keys."""
    found = {name: values.get(name, key.default) for name, key in keys.items()}
    return {name: value for name, value in found.items() if value != keys[name].default}


def with_enabled(version: Document, *, enabled: bool) -> Document:
    """The version of a schedule after it was enabled or disabled."""
    others = {name: value for name, value in version.items() if name != "enabled"}
    return others if enabled else {**others, "enabled": False}
