"""A page of the list of schedules, and the table on it.

Django's tag ``result_list`` can show any model: for each cell of each row, it looks for a field with the name
of the column, and then at the type of the value. Here, all values are text or HTML, and the list makes the
same table in a fifth of the time, unless a theme or a project has templates of its own for lists.
"""

from collections.abc import Callable
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from django.contrib import admin
from django.contrib.admin.templatetags.admin_list import ResultList, result_headers
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import display_for_value
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import select_template
from django.utils.html import escape
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger.admin.display import page_template
from jobledger.admin.markup import escaped

CHECKBOX, NAME = "action_checkbox", "name"
RUN_COLUMNS = ("last_run", "last_runs")
COLUMNS = (NAME, "job", "times", "status", "next_run", "origin", *RUN_COLUMNS)

_DJANGOS_TEMPLATES = Path(admin.__file__).with_name("templates")
_REPLACEABLE = ("change_list.html", "change_list_results.html")


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
        """False in a pop-up, if a project adds columns, or where templates are not Django's."""
        has_known_columns = {CHECKBOX, *COLUMNS}.issuperset(self.list_display)
        has_known_links = self.list_display_links == [NAME] and not self.is_popup
        return has_known_columns and has_known_links and all(map(self._is_djangos, _REPLACEABLE))

    def _is_djangos(self, name: str) -> bool:
        model = f"{self.opts.app_label}/{self.opts.model_name}"
        found: Any = select_template(
            [f"admin/{where}{name}" for where in (f"{model}/", f"{self.opts.app_label}/", "")]
        )
        return Path(found.origin.name).is_relative_to(_DJANGOS_TEMPLATES)

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
        rows = list[ResultList]()
        for schedule in self.result_list:
            cells = [
                f"{start.format(schedule.pk)}{escaped(_shown(value, empty))}{end}"
                for start, value_of, end in columns
                for value in (value_of(schedule),)
            ]
            rows.append(ResultList(None, [SafeString("".join(cells))]))
        return rows

    def _column(self, name: str) -> tuple[str, Callable[[PeriodicTask], Any], str]:
        """What comes before the value, with ``{}`` for the schedule's ID; the value; and what follows."""
        if name == NAME:
            # The page of a schedule leads back to the list as it is.
            filters: dict[str, Any] = {"preserved_filters": self.preserved_filters, "opts": self.opts}
            url = escape(add_preserved_filters(filters, self._page))
            return f'<th class="field-name"><a href="{url}">', attrgetter(NAME), "</a></th>"
        kind = "action-checkbox" if name == CHECKBOX else f"field-{name}"
        return f'<td class="{kind}">', getattr(self.model_admin, name), "</td>"


def _shown(value: Any, empty: str) -> str:
    """As Django shows it: a project may have made a column of its own of one of these."""
    text = value if isinstance(value, str) else display_for_value(value, empty)
    return text if text.strip() else empty
