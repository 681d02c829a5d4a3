"""Changelists whose URL parameters are restricted to the filters that they show.

Django accepts lookups of any local field, even if the list hides or masks it: with ``__regex``, a viewer
could read a hidden value character by character, or keep the database busy with a pattern that backtracks.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.utils import get_fields_from_path
from django.db.models import Field
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse

from jobledger.admin_site import ModelPages

_FILTER_LOOKUPS = ("exact", "in", "isnull", "isempty", "gte", "lt")
_DATE_HIERARCHY_LOOKUPS = ("year", "month", "day")


class ShownFiltersOnly(ModelPages):
    """Responds with 400 to any filter that is not in ``list_filter`` or ``date_hierarchy``.

    The list's title is the plural name of its model, instead of “Select … to change”.
    """

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # PostgreSQL rejects NUL characters. Filters of our own take care of that themselves.
        is_comparable = LOOKUP_SEP not in lookup or "\x00" not in value
        return is_comparable and lookup in self._allowed_lookups(request)

    def _allowed_lookups(self, request: Any) -> Iterator[str]:
        if self.date_hierarchy:
            yield from _lookups(self.date_hierarchy, _DATE_HIERARCHY_LOOKUPS)
        for item in self.get_list_filter(request):
            if isinstance(item, type) and issubclass(item, SimpleListFilter):
                yield str(item.parameter_name)
            else:
                yield from self._field_lookups(item[0] if isinstance(item, list | tuple) else item)

    def _field_lookups(self, field_or_path: Any) -> Iterator[str]:
        path = field_or_path.name if isinstance(field_or_path, Field) else str(field_or_path)
        field = get_fields_from_path(self.model, path)[-1]
        if field.is_relation:
            # Filters by a relation look up its primary key.
            key = field.related_model._meta.pk.name  # type: ignore[union-attr]  # it has a related model
            yield from _lookups(f"{path}{LOOKUP_SEP}{key}", ("exact", "in"))
            yield from _lookups(path, ("isnull",))
        else:
            yield from _lookups(path, _FILTER_LOOKUPS)


def _lookups(path: str, names: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{path}{LOOKUP_SEP}{name}" for name in names)
