"""A page of the list of schedules, and the table on it.

Django's tag ``result_list`` can show any model: for each cell of each row, it looks for a field with the name
of the column, and then at the type of the value. Here, all values are text or HTML, and the list makes the
same table in a fifth of the time. Where a theme or a project has replaced a part of the list, the tag does.
"""

from collections.abc import Callable
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from django.contrib import admin
from django.contrib.admin.templatetags.admin_list import ResultList, result_headers
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import select_template
from django.utils.html import escape
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

import jobledger
from jobledger.admin.display import page_template
from jobledger.admin.markup import escaped

CHECKBOX, NAME = "action_checkbox", "name"
RUN_COLUMNS = ("last_run", "last_runs")
COLUMNS = (NAME, "job", "times", "status", "next_run", "origin", *RUN_COLUMNS)

_LISTING = f"{__package__}.listing"
_SHIPPED_TEMPLATES = tuple(Path(str(each.__file__)).with_name("templates") for each in (admin, jobledger))


class ScheduleChangeList(ChangeList):
    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[PeriodicTask]:
        """Does not join the timing tables: one invalid row would break the whole page."""
        found = super().get_queryset(request, exclude_parameters)
        return found.select_related(None).select_related("next_slot")

    @cached_property
    def _page(self) -> str:
        return page_template("django_celery_beat_periodictask_change")

    def url_for_result(self, result: PeriodicTask) -> str:
        """Calls Django's URL resolver once instead of once for each row."""
        return self._page.format(result.pk)

    @property
    def is_filtered(self) -> bool:
        """Whether a search or a filter is active."""
        return bool(self.query) or any(each.value() for each in self.filter_specs)  # type: ignore[attr-defined]

    @property
    def has_own_table(self) -> bool:
        """False in a pop-up, and if a project has columns, links or templates of its own."""
        columns = [str(each) for each in self.list_display]
        has_known_columns = {CHECKBOX, *COLUMNS}.issuperset(columns) and all(map(self._is_own, columns))
        has_known_links = self.list_display_links == [NAME] and not self.is_popup
        is_own_url = type(self).url_for_result is ScheduleChangeList.url_for_result
        return has_known_columns and has_known_links and is_own_url and self._has_shipped_templates

    def _is_own(self, column: str) -> bool:
        # What shows a replaced one may depend on its attributes, and on what it returns or raises.
        method = getattr(type(self.model_admin), column, None)
        return column == NAME or getattr(method, "__module__", "") == _LISTING

    @property
    def _has_shipped_templates(self) -> bool:
        app, model = self.opts.app_label, self.opts.model_name
        return _is_shipped("jobledger/change_list.html") and all(
            _is_shipped(f"admin/{app}/{model}/{name}", f"admin/{app}/{name}", f"admin/{name}")
            for name in ("change_list.html", "change_list_results.html")
        )

    @cached_property
    def headers(self) -> list[dict[str, Any]]:
        return list(result_headers(self))

    @property
    def sorted_headers(self) -> int:
        """By how many columns the rows are sorted."""
        return sum(each["sortable"] and each["sorted"] for each in self.headers)

    @property
    def rows(self) -> list[ResultList]:
        """Each with all its cells in one item: Django's template renders every item on its own."""
        columns = [self._column(str(name)) for name in self.list_display]
        empty = self.model_admin.get_empty_value_display()
        return [
            ResultList(None, [SafeString("".join([_cell(schedule, empty, *each) for each in columns]))])
            for schedule in self.result_list
        ]

    def _column(self, name: str) -> tuple[str, Callable[[PeriodicTask], str], str]:
        """What comes before the value, with ``{}`` for the schedule's ID; the value; and what follows."""
        if name == NAME:
            # The page of a schedule leads back to the list as it is.
            filters: dict[str, Any] = {"preserved_filters": self.preserved_filters, "opts": self.opts}
            url = escape(add_preserved_filters(filters, self._page))
            return f'<th class="field-name"><a href="{url}">', attrgetter(NAME), "</a></th>"
        kind = "action-checkbox" if name == CHECKBOX else f"field-{name}"
        return f'<td class="{kind}">', getattr(self.model_admin, name), "</td>"


def _cell(
    schedule: PeriodicTask, empty: str, start: str, value_of: Callable[[PeriodicTask], str], end: str
) -> str:
    try:
        value = value_of(schedule)
    except ObjectDoesNotExist:
        # As in Django's tag. A template would take it to mean that there are no rows at all.
        value = empty
    return f"{start.format(schedule.pk)}{escaped(value if value.strip() else empty)}{end}"


def _is_shipped(*names: str) -> bool:
    """Whether the first of these templates that exists is Django's or this package's."""
    found: Any = select_template(names)
    return any(Path(found.origin.name).is_relative_to(each) for each in _SHIPPED_TEMPLATES)
