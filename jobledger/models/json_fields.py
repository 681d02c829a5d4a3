"""JSON columns that hold objects, or lists, and are read as such, whatever is stored.

Whoever writes a row with SQL, or another version, may store another kind of value. It is read as a
``NotAnObject`` or a ``NotAList``, which are empty: a page with many rows shows all of them. What acts upon a
value asks ``json_text.problem_with`` first. Saved again, the value stays as it is.
"""

from typing import Any

from django.db import models
from django.db.models.fields.json import KeyTransform

from jobledger.jobs.json_text import NotAList, NotAnObject


class _OfOneKind(models.JSONField):
    kind: type
    otherwise: type[NotAnObject] | type[NotAList]

    def deconstruct(self) -> Any:
        """For migrations, since the column is that of any JSON."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        found = super().from_db_value(value, expression, connection)
        # A part of a value may be of any kind.
        is_right = isinstance(found, self.kind) or value is None or isinstance(expression, KeyTransform)
        return found if is_right else self.otherwise(found)

    def get_prep_value(self, value: Any) -> Any:
        is_wrong = isinstance(value, NotAnObject | NotAList)
        return super().get_prep_value(value.stored if is_wrong else value)


class ObjectField(_OfOneKind):
    """Read as a dict."""

    kind, otherwise = dict, NotAnObject


class ListField(_OfOneKind):
    """Read as a list."""

    kind, otherwise = list, NotAList
