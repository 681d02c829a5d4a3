"""The service's pages work in an admin that is not its own, and change nothing else there."""

from pathlib import Path

import django.contrib.admin
import django_htmx
import pytest
from django.contrib.admin import AdminSite
from django.test import Client
from django.urls import path, reverse
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.admin import DeadLetterAdmin, RunAdmin, ScheduleAdmin
from jobledger.admin.audit_log import AuditEntryAdmin
from jobledger.models import AuditEntry, DeadLetter, Run
from proj.state import BASE_DIR
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

SITE = AdminSite(name="backoffice")
for model, model_admin in (
    (PeriodicTask, ScheduleAdmin),
    (Run, RunAdmin),
    (DeadLetter, DeadLetterAdmin),
    (AuditEntry, AuditEntryAdmin),
):
    SITE.register(model, model_admin)

urlpatterns = [path("backoffice/", SITE.urls)]

DJANGOS = Path(django.contrib.admin.__file__).parent / "templates"
THEME = '{% extends "admin/base.html" %}{% block branding %}ACME back office{% endblock %}'
OURS = ("jobledger/pages.css", "jobledger/htmx.min.js", "jobledger/pages.js")
PAGES = (
    "django_celery_beat_periodictask_changelist",
    "django_celery_beat_periodictask_add",
    "django_celery_beat_periodictask_change",
    "django_celery_beat_periodictask_history",
    "jobledger_week",
    "jobledger_service_pause",
    "jobledger_run_changelist",
    "jobledger_run_change",
    "jobledger_run_history",
    "jobledger_job_list",
    "jobledger_job",
    "jobledger_job_run",
)


@pytest.fixture(params=["stock", "theme"])
def look(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """Django's own base template, or that of a theme; returns what its pages have in their header."""
    (tmp_path / "admin").mkdir()
    (tmp_path / "admin" / "base_site.html").write_text(THEME)
    first = DJANGOS if request.param == "stock" else tmp_path
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [first]}]
    # Not by `settings`: its signal discards the resolvers of all URLs, which each test would build anew.
    monkeypatch.setattr("django.conf.settings.ROOT_URLCONF", __name__)
    return "Django administration" if request.param == "stock" else "ACME back office"


def address(name: str, schedule: PeriodicTask, run: Run) -> str:
    if name.startswith("jobledger_run_") and not name.endswith("list"):
        return reverse(f"admin:{name}", args=[run.pk])
    if name in ("jobledger_job", "jobledger_job_run"):
        return reverse(f"admin:{name}", args=["probe"])
    has_schedule = name.endswith(("_change", "_history"))
    return reverse(f"admin:{name}", args=[schedule.pk] if has_schedule else [])


@pytest.fixture
def schedule() -> PeriodicTask:
    return hourly("nightly")


@pytest.fixture
def run() -> Run:
    return create_run()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_own_styles_and_scripts_once(
    admin_client: Client, look: str, schedule: PeriodicTask, run: Run, name: str
) -> None:
    page = admin_client.get(address(name, schedule, run))
    assert page.status_code == 200
    assert [page.text.count(asset) for asset in OURS] == [1, 1, 1]
    assert look in page.text
    assert page.text.count('class="jobledger-pages"') == 1


@pytest.mark.parametrize("name", ["index", "jobledger_deadletter_changelist", "password_change"])
def test_other_pages_stay_as_they_are(admin_client: Client, look: str, name: str) -> None:
    page = admin_client.get(reverse(f"admin:{name}")).text
    assert look in page
    assert "/static/jobledger/" not in page


def test_after_logout_a_partial_update_reloads_the_page(client: Client, look: str, run: Run) -> None:
    live = reverse("admin:jobledger_run_live", args=[run.pk])
    assert client.get(live, headers={"HX-Request": "true"}).status_code == 286


def test_htmx_is_the_release_that_its_package_brings() -> None:
    theirs = Path(django_htmx.__file__).parent / "static" / "django_htmx" / "htmx-2.min.js"
    ours = BASE_DIR / "jobledger" / "static" / "jobledger" / "htmx.min.js"
    assert ours.read_bytes() == theirs.read_bytes()


def test_every_page_is_based_on_a_template_with_the_styles_and_scripts() -> None:
    templates = BASE_DIR / "jobledger" / "templates" / "jobledger"
    based_on_djangos = {
        str(path.relative_to(templates))
        for path in templates.rglob("*.html")
        if path.read_text().startswith('{% extends "admin/')
    }
    bases, of_the_site = (
        {"base.html", "change_form.html", "change_list.html"},
        {"site.html", "everything.html"},
    )
    assert based_on_djangos == {*bases, *of_the_site, "locked_out.html"}


def test_the_pages_need_no_template_of_another_name() -> None:
    """A template of Django's name would change every page of every admin."""
    templates = BASE_DIR / "jobledger" / "templates" / "admin"
    assert {path.name for path in templates.iterdir()} == {"django_celery_beat"}
