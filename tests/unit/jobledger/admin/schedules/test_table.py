"""The table of the list of schedules is the one that Django's own tag makes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.contrib.admin.templatetags.admin_list import result_list
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.admin.schedules import listing
from jobledger.admin.schedules.listing import ScheduleList
from jobledger.admin.schedules.table import ScheduleChangeList
from jobledger.models import Status
from tests.unit.jobledger.admin.schedules.schedules import LIST, member, run_of
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


def table_as_django_makes_it(client: Client, **query: str) -> str:
    """The table on the page, which is the one that Django makes of the same schedules."""
    response: Any = client.get(reverse(LIST), query)
    made = render_to_string("admin/change_list_results.html", result_list(response.context["cl"]))
    shown = _table_in(response.text)
    assert shown == _table_in(made)
    return shown


def _table_in(text: str) -> str:
    return text[text.index('<div class="results">') : text.index("</table>")]


def make_schedules() -> None:
    run_of(hourly("one"), status=Status.FAILED)
    hourly("<b>{two} & 'three'</b>")
    hourly(" ")
    PeriodicTask.objects.filter(name="one").update(task="")
    PeriodicTask.objects.filter(name=" ").update(enabled=False)


@pytest.mark.parametrize(
    "query",
    [{}, {"q": "t"}, {"q": "{}<&%"}, {"o": "-1"}, {"o": "2.-5"}, {"status": "enabled", "times": "crontab"}],
)
def test_the_table_is_the_one_that_django_makes(admin_client: Client, query: dict[str, str]) -> None:
    make_schedules()
    hourly("{}<&%")
    shown = table_as_django_makes_it(admin_client, **query)
    assert "<tr><td" in shown


def test_so_it_is_for_users_who_see_fewer_columns(client: Client) -> None:
    member(client, "Job viewers")
    make_schedules()
    shown = table_as_django_makes_it(client)
    assert "action-checkbox" not in shown


def test_a_name_and_a_value_without_text_have_a_dash(admin_client: Client) -> None:
    make_schedules()
    shown = table_as_django_makes_it(admin_client)
    assert '<td class="field-job">-</td>' in shown
    assert shown.count('/change/">-</a></th>') == 1


def test_names_are_escaped_and_their_links_lead_back_to_the_list(admin_client: Client) -> None:
    found = hourly("<b>")
    shown = table_as_django_makes_it(admin_client, q="<")
    url = reverse("admin:django_celery_beat_periodictask_change", args=[found.pk])
    assert f'<th class="field-name"><a href="{url}?_changelist_filters=q%3D%253C">&lt;b&gt;</a></th>' in shown


def test_a_popup_has_the_table_that_django_makes(admin_client: Client) -> None:
    found = hourly("two")
    shown = table_as_django_makes_it(admin_client, _popup="1")
    assert f'data-popup-opener="{found.pk}"' in shown


def test_so_has_a_list_with_columns_that_a_project_adds(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly("two")
    added = ("name", "enabled", "date_changed")
    monkeypatch.setattr(admin.site.get_model_admin(PeriodicTask), "list_display", added)
    shown = table_as_django_makes_it(admin_client)
    assert 'alt="True"' in shown


def deleted(schedule: PeriodicTask) -> str:
    raise PeriodicTask.DoesNotExist


@pytest.mark.parametrize(
    "column",
    [
        lambda schedule: None,
        lambda schedule: NOON,
        deleted,
        admin.display(boolean=True)(lambda schedule: False),
        admin.display(empty_value="<none>")(lambda schedule: ""),
    ],
)
def test_a_project_may_replace_a_column(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, column: Any
) -> None:
    hourly("one")
    monkeypatch.setattr(ScheduleList, "job", staticmethod(column))
    shown = table_as_django_makes_it(admin_client)
    assert "field-job" in shown


def test_a_project_may_let_names_lead_elsewhere(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(ScheduleChangeList):
        def url_for_result(self, result: PeriodicTask) -> str:
            return f"/elsewhere/{result.name}/"

    hourly("one")
    monkeypatch.setattr(ScheduleList, "get_changelist", lambda self, request, **options: Elsewhere)
    shown = table_as_django_makes_it(admin_client)
    assert "/elsewhere/one/" in shown


def test_a_schedule_that_is_deleted_meanwhile_does_not_hide_the_others(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly("one")
    monkeypatch.setattr(listing, "_quiet", deleted)
    shown = table_as_django_makes_it(admin_client)
    assert '<td class="field-last_run">-</td>' in shown


def test_the_table_is_made_here_unless_somebody_has_templates(admin_client: Client) -> None:
    hourly("one")
    (row,) = admin_client.get(reverse(LIST)).context["cl"].rows
    assert len(row) == 1
    assert admin_client.get(reverse(LIST)).context["cl"].has_own_table


@pytest.mark.parametrize("where", ["", "django_celery_beat/", "django_celery_beat/periodictask/"])
def test_a_project_may_have_a_table_of_its_own(
    admin_client: Client, settings: Settings, tmp_path: Path, where: str
) -> None:
    hourly("one")
    template = tmp_path / "admin" / where / "change_list_results.html"
    template.parent.mkdir(parents=True)
    template.write_text("{{ cl.result_count }} of {{ results|length }}: {{ results.0|length }} cells")
    settings.TEMPLATES = [{**each, "DIRS": [tmp_path]} for each in settings.TEMPLATES]
    assert "1 of 1: 9 cells" in admin_client.get(reverse(LIST)).text


@pytest.mark.parametrize("where", ["admin", "jobledger"])
def test_a_theme_may_show_lists_in_its_own_way(
    admin_client: Client, settings: Settings, tmp_path: Path, where: str
) -> None:
    hourly("one")
    template = tmp_path / where / "change_list.html"
    template.parent.mkdir(parents=True)
    template.write_text("{% block result_list %}the theme's {{ cl.result_list.0.name }}{% endblock %}")
    settings.TEMPLATES = [{**each, "DIRS": [tmp_path]} for each in settings.TEMPLATES]
    assert admin_client.get(reverse(LIST)).text.strip() == "the theme's one"
