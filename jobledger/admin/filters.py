"""Lists that take from their URL only the filters that they show.

Django's own take a lookup of any field, also of one that the list hides or masks: with ``__regex`` a viewer
reads a hidden value character by character, and a pattern that backtracks keeps the database busy for ever.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.utils import get_fields_from_path
from django.db.models import Field
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest

_OF_A_FILTER = ("exact", "in", "isnull", "isempty", "gte", "lt")
_OF_A_DATE_HIERARCHY = ("year", "month", "day")


class ShownFiltersOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # generic for the type checker alone
    """Answers with 400 to any filter that is neither in ``list_filter`` nor the ``date_hierarchy``."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in self._shown_parameters(request)

    def _shown_parameters(self, request: Any) -> Iterator[str]:
        if self.date_hierarchy:
            yield from _lookups(self.date_hierarchy, _OF_A_DATE_HIERARCHY)
        for shown in self.get_list_filter(request):
            if isinstance(shown, type) and issubclass(shown, SimpleListFilter):
                yield str(shown.parameter_name)
            else:
                yield from self._of_field(shown[0] if isinstance(shown, list | tuple) else shown)

    def _of_field(self, shown: Any) -> Iterator[str]:
        path = shown.name if isinstance(shown, Field) else str(shown)
        field = get_fields_from_path(self.model, path)[-1]
        if field.is_relation:
            # What a filter by a relation asks for is the primary key.
            key = field.related_model._meta.pk.name  # type: ignore[union-attr]  # it has a related model
            yield from _lookups(f"{path}{LOOKUP_SEP}{key}", ("exact", "in"))
            yield from _lookups(path, ("isnull",))
        else:
            yield from _lookups(path, _OF_A_FILTER)


def _lookups(path: str, names: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{path}{LOOKUP_SEP}{name}" for name in names)
