"""With several admin sites, every page leads to pages of its own site, and alerts to those of one of them."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urljoin, urlsplit

import django.contrib.admin
import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient, Client
from django.urls import include, path, resolve, reverse
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger.admin import register
from jobledger.admin_site import SECTIONS, JobsAdminSite, page_url
from jobledger.alerts.sending import message
from jobledger.checks.project import check_links
from jobledger.jobs.declaration import AlertKind
from jobledger.models import Alert, AlertDestination, AlertRule, DeadLetter, Pause, Run, Status, Trigger
from jobledger.runs import overlap
from proj.state import BASE_DIR
from tests.manual import ADOPTING, FENCE, codes
from tests.unit.builders import override
from tests.unit.jobledger.admin.html_forms import form_in
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.admin.schedules.edit_forms import NIGHTLY
from tests.unit.jobledger.alerts.builders import fail

pytestmark = [pytest.mark.django_db, pytest.mark.one_database, pytest.mark.usefixtures("broker", "sites")]

STOCK, WITH_HOME = AdminSite(name="stock"), JobsAdminSite(name="jobs")
register(STOCK)
register(WITH_HOME)
# The first is what Django takes without a hint, which no page may depend on.
urlpatterns = [
    path("elsewhere/", AdminSite(name="elsewhere").urls),
    path("admin/", admin.site.urls),
    path("in/side/", include([path("stock/", STOCK.urls)])),
    path("jobs/", WITH_HOME.urls),
]
SCHEDULES = "django_celery_beat/periodictask/"
PAGES = (
    "django_celery_beat_periodictask_history",
    "jobledger_week",
    "jobledger_service_pause",
    "jobledger_run_history",
    "jobledger_run_output",
    "jobledger_job_run",
    "jobledger_alert_change",
    "jobledger_alertdestination_change",
    "jobledger_alertrule_change",
)
"""Pages to which no page of another site may be needed, among others."""
PREFIXES = {"admin": "/admin/", "stock": "/in/side/stock/", "jobs": "/jobs/"}
LINK = re.compile(r'\s(?:href|action|hx-get|hx-post)="([^"#]+)')
JOB = re.compile(r"/job/(\w+)/")
JOBS = {"probe", "choosing"}
"""Those whose pages are looked at: the pages of all others have the same links."""


@pytest.fixture
def sites(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by `settings`: its signal discards the resolvers of all URLs, which each test would build anew.
    monkeypatch.setattr("django.conf.settings.ROOT_URLCONF", __name__)


@pytest.fixture
def schedule() -> PeriodicTask:
    hours = IntervalSchedule.objects.create(every=1, period="hours")
    made: PeriodicTask = PeriodicTask.objects.create(name="mine", task="probes.probe", interval=hours)
    return made


@pytest.fixture
def run(schedule: PeriodicTask) -> Run:
    return create_run(schedule=schedule, schedule_name=schedule.name, queued_at=timezone.now())


@pytest.fixture(params=PREFIXES)
def site(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def url(site: str, name: str, *args: object) -> str:
    return reverse(f"admin:{name}", args=args, current_app=site)


def links(page: str, base: str) -> Iterator[str]:
    """The paths to which a page's links and forms lead."""
    for found in LINK.findall(page):
        address = urlsplit(urljoin(base, html.unescape(found)))
        job = JOB.search(address.path)
        is_alike = job is not None and job[1] not in JOBS
        if not address.netloc and not address.path.startswith("/static/") and not is_alike:
            yield address.path


def crawl(client: Client, start: str, first: str = "") -> dict[str, int]:
    """The status of every page that can be reached, by its path; of pages elsewhere, the path only."""
    statuses: dict[str, int] = {}
    found = [start + first]
    while found:
        address = found.pop()
        if address in statuses or not address.startswith(start):
            statuses.setdefault(address, 0)
            continue
        page = client.get(address)
        statuses[address] = page.status_code
        if page.headers["Content-Type"].startswith("text/html") and "/logout/" not in address:
            found += links(page.content.decode(), address)
    return statuses


def something_of_everything(schedule: PeriodicTask) -> None:
    now = timezone.now()
    runs = [
        create_run(schedule=schedule, schedule_name=schedule.name, status=status, queued_at=now)
        for status in Status
    ]
    create_run(parent=runs[0], trigger=Trigger.JOB, queued_at=now)
    create_run(status=Status.SKIPPED, queued_at=now, **overlap.held_by(runs[0]).columns)
    team = AlertDestination.objects.create(name="team", addresses="team@example.com")
    AlertRule.objects.create(name="all", job="probe").destinations.add(team)
    fail(schedule=schedule, schedule_name=schedule.name)
    Alert.objects.create(
        kind=AlertKind.SILENT, job="probe", schedule=schedule, schedule_name="mine", time=now
    )
    DeadLetter.objects.create(received_at=now, reason="not JSON", size=3)
    Pause.objects.create(since=now)


def test_every_link_and_form_leads_to_the_same_site(
    admin_client: Client, schedule: PeriodicTask, site: str
) -> None:
    something_of_everything(schedule)
    found = crawl(admin_client, PREFIXES[site])
    assert {address for address, status in found.items() if not status} <= {"/"}  # "View site"
    assert {address: status for address, status in found.items() if status >= 500 or status == 404} == {}
    names = {resolve(address).url_name for address, status in found.items() if status}
    assert set(PAGES) <= names


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("view_run",),
        ("view_periodictask",),
        ("start_run",),
        ("start_run", "view_periodictask"),
        ("pause_schedule", "view_calendar", "view_alertrule", "view_alertdestination"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("site", ["stock", "jobs"])
def test_no_link_leads_to_a_page_that_the_user_may_not_open(
    client: Client, schedule: PeriodicTask, site: str, names: tuple[str, ...]
) -> None:
    something_of_everything(schedule)
    user = User.objects.create_user("ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    found = crawl(client, PREFIXES[site], "jobledger/run/job/" if site == "stock" else "")
    assert len(found) > 2
    assert [address for address, status in found.items() if status == 403] == []


@pytest.mark.parametrize(
    ("name", "data", "leads_to"),
    [
        ("jobledger_job_run", {"option-level": "1"}, "jobledger/run/"),
        ("jobledger_run_cancel", {}, "jobledger/run/"),
        ("jobledger_run_start_again", {}, "jobledger/run/"),
        ("jobledger_service_pause", {"length": "1h", "on_resume": "skip"}, SCHEDULES),
        ("jobledger_service_resume", {}, SCHEDULES),
        ("jobledger_alertdestination_test", {}, "jobledger/alertdestination/"),
        ("django_celery_beat_periodictask_pause", {"length": "1h", "on_resume": "skip"}, SCHEDULES),
        ("django_celery_beat_periodictask_resume", {}, SCHEDULES),
    ],
)
def test_an_action_returns_to_the_same_site(
    admin_client: Client, run: Run, site: str, name: str, data: dict[str, str], leads_to: str
) -> None:
    ids = {
        "job": "probe",
        "run": run.pk,
        "alertdestination": AlertDestination.objects.create(name="team", addresses="a@example.com").pk,
        "periodictask": run.schedule_id,
    }
    args = [found for model, found in ids.items() if f"_{model}_" in name]
    answer = admin_client.post(url(site, name, *args), data)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(PREFIXES[site] + leads_to)


@pytest.mark.parametrize("button", ["_save", "_continue"])
def test_a_saved_schedule_leads_to_the_same_site(admin_client: Client, site: str, button: str) -> None:
    page = url(site, "django_celery_beat_periodictask_add")
    form = form_in(admin_client.get(page, {"job": "probe"}).text, "edit-form")
    answer = admin_client.post(f"{page}?job=probe", form.after(**NIGHTLY, **{button: "1"}))
    assert answer.headers["Location"].startswith(PREFIXES[site] + SCHEDULES)


def test_a_message_and_a_search_by_id_lead_to_the_same_site(
    admin_client: Client, run: Run, site: str
) -> None:
    selected = {"action": "run_tasks", "_selected_action": run.schedule_id}
    page = admin_client.post(url(site, "django_celery_beat_periodictask_changelist"), selected, follow=True)
    started = Run.objects.exclude(pk=run.pk).get()
    assert f'Run started: <a href="{url(site, "jobledger_run_change", started.pk)}">' in page.text
    found = admin_client.get(url(site, "jobledger_run_changelist"), {"q": str(run.pk)})
    assert found.headers["Location"] == url(site, "jobledger_run_change", run.pk)


def test_a_page_served_by_asgi_leads_to_the_same_site(run: Run) -> None:
    client = AsyncClient()
    client.force_login(User.objects.create_superuser("ann"))
    page = async_to_sync(client.get)(url("stock", "django_celery_beat_periodictask_changelist"))
    assert url("stock", "jobledger_run_change", run.pk) in page.content.decode()


def test_a_request_leaves_no_site_behind(admin_client: Client) -> None:
    admin_client.get(url("stock", "jobledger_run_changelist"))
    assert page_url("jobledger_run_changelist") == "/admin/jobledger/run/"


@pytest.mark.parametrize("name", PREFIXES)
def test_alerts_lead_to_the_site_that_the_project_has_chosen(
    admin_client: Client, settings: Settings, site: str, name: str
) -> None:
    override(settings, BASE_URL="https://jobs.example.com", ADMIN_SITE=name)
    expected = f"https://jobs.example.com{PREFIXES[name]}jobledger/run/"
    assert message.link_to("jobledger_run_changelist") == expected
    # Also if the message is shown on a page of another one.
    alert = Alert.objects.create(kind=AlertKind.FAILED, job="probe", run=fail())
    assert expected in admin_client.get(url(site, "jobledger_alert_change", alert.pk)).text


def test_a_site_without_the_pages_is_reported_if_alerts_should_link_to_it(settings: Settings) -> None:
    override(settings, ADMIN_SITE="elsewhere")
    assert check_links() == []
    override(settings, BASE_URL="https://jobs.example.com")
    (found,) = check_links()
    assert (found.id, "'elsewhere'" in found.msg) == ("jobledger.W025", True)
    override(settings, ADMIN_SITE="stock")
    assert check_links() == []


def test_the_pages_can_move_to_another_site() -> None:
    first, second = AdminSite(name="first"), AdminSite(name="second")
    first.register(User)
    register(first)
    register(second, instead_of=first)
    register(second)
    assert list(first._registry) == [User]
    assert second.is_registered(Run)
    assert second.is_registered(PeriodicTask)


def test_the_lines_of_the_manual_add_the_pages_to_a_site_and_move_them_there() -> None:
    prose = "".join(ADOPTING.read_text().split(FENCE)[::2])
    add, load, move = (code for code in codes(prose) if re.search(r"\bregister\b", code))
    djangos, backoffice = AdminSite(name="admin"), AdminSite(name="backoffice")
    names = {"admin": SimpleNamespace(site=djangos), "backoffice": backoffice}
    register(djangos)
    exec(f"{load}; {add}", names)
    assert [djangos.is_registered(Run), backoffice.is_registered(Run)] == [True, True]
    exec(move, names)
    assert [djangos.is_registered(Run), backoffice.is_registered(Run)] == [False, True]


def test_a_site_with_a_home_page_needs_no_template_of_the_project(
    admin_client: Client, settings: Settings
) -> None:
    djangos = Path(django.contrib.admin.__file__).parent / "templates"
    with_our_header = admin_client.get("/jobs/").text
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [djangos]}]
    with_djangos_header = admin_client.get("/jobs/").text
    sections = [f'<a href="{url("jobs", name)}">{title}</a>' for name, title in SECTIONS]
    assert [section for section in sections if section not in with_djangos_header] == []
    assert ["jobledger/site.css" in page for page in (with_our_header, with_djangos_header)] == [True, False]
    hidden = ".jobledger-pages.jobledger-sections { display: none; }"
    assert hidden in (BASE_DIR / "jobledger" / "static" / "jobledger" / "site.css").read_text()
