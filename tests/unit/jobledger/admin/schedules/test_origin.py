"""The admin says where a schedule comes from, where it differs from the code, and takes it back there."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, Misfire, Schedule
from jobledger.models import AuditEntry
from jobledger.schedules.declared.sync import sync
from tests.unit.builders import override
from tests.unit.jobledger.admin.schedules.edit_forms import change_url, edit_form, page_url
from tests.unit.jobledger.admin.schedules.schedules import LIST, member, page
from tests.unit.jobledger.schedules.builders import hourly
from tests.unit.jobledger.schedules.declared.builders import JOB, applied, declare, stored

pytestmark = pytest.mark.django_db


def edit(**values: Any) -> None:
    PeriodicTask.objects.filter(name=JOB).update(**values)


@pytest.fixture(autouse=True)
def drifted(settings: Settings) -> None:
    """Its queue was changed in both, its priority in the admin alone."""
    applied(settings, Schedule("0 3 * * *"))
    edit(queue="slow", priority=3)
    applied(settings, Schedule("0 3 * * *", queue="fast"))


def settle(client: Client, field: str = "queue", button: str = "_code", version: str | None = None) -> Any:
    if version is None:
        version = client.get(change_url(stored())).context["origin"].version
    form = {"field": field, "version": version, button: "x"}
    return client.post(page_url("origin", stored()), form, follow=True)


def test_the_page_shows_both_values_of_each_field_that_differs(admin_client: Client) -> None:
    response = admin_client.get(change_url(stored()))
    rows = response.context["origin"].rows
    assert [(row.difference.field, row.difference.stored, row.difference.code) for row in rows] == [
        ("queue", "slow", "fast"),
        ("priority", "3", ""),
    ]
    assert f"By the job {JOB}." in response.text
    assert response.text.count("Back to code</button>") == 2
    assert response.text.count("Keep</button>") == 1
    assert "changed here and in the code" in response.text


EVERYTHING = (
    Schedule(
        "@weekly",
        timezone="Europe/London",
        description="Two\nlines",
        options={"call_job": True},
        queue="fast",
        priority=0,
        misfire=Misfire.ALL,
        catch_up_limit=7,
        starting_deadline=timedelta(minutes=90, seconds=1),
        jitter=timedelta(minutes=5),
        concurrency=Concurrency.ALLOW,
    ),
    Schedule(every=timedelta(days=3), name="interval"),
    Schedule(at=datetime(2040, 1, 1, 12, 30, 5, tzinfo=UTC), name="once"),
    Schedule("0 3 * jan-mar MON-fri", name="names"),
)


def test_saving_a_page_unchanged_is_no_edit(admin_client: Client, settings: Settings) -> None:
    edit(queue=None, priority=None)
    applied(settings, *EVERYTHING)
    for schedule in PeriodicTask.objects.all():
        url = change_url(schedule)
        assert admin_client.post(url, edit_form(admin_client, url).after()).status_code == 302, schedule.name
    assert [(each.name, each.edited, each.drift) for each in sync() if each.edited or each.drift] == []


def test_the_number_of_queries_does_not_depend_on_the_number_of_declarations(
    admin_client: Client, settings: Settings
) -> None:
    counts = []
    for number in (1, 10):
        applied(settings, *(Schedule("@daily", name=f"number {each}") for each in range(number)))
        for query in ({}, {"origin": "drift"}, {"origin": "code"}):
            with CaptureQueriesContext(connection) as queries:
                page(admin_client, **query)
            counts.append(len(queries))
    assert counts[:3] == counts[3:]


def test_a_schedule_that_was_made_in_the_admin_says_so(admin_client: Client) -> None:
    text = admin_client.get(change_url(hourly())).text
    assert "From</span> the admin" in text
    assert "Declared in code" not in text


def test_a_schedule_that_the_settings_declare_says_so(admin_client: Client, settings: Settings) -> None:
    override(settings, SCHEDULES={JOB: [Schedule("@daily", name="from settings")]})
    sync()
    text = admin_client.get(change_url(stored("from settings"))).text
    assert f"In the settings, for the job {JOB}." in text


def test_a_renamed_schedule_says_how_the_code_calls_it(admin_client: Client) -> None:
    schedule = stored()
    edit(name="mine")
    assert f"as “{JOB}”" in admin_client.get(change_url(schedule)).text


def test_back_to_code_gives_one_field_the_codes_value_and_is_logged(admin_client: Client) -> None:
    text = settle(admin_client).text
    assert "Queue has the value from the code again." in text
    assert (stored().queue, stored().priority) == ("fast", 3)
    entry = AuditEntry.objects.exclude(user=None).get()
    assert (entry.username, entry.verb, entry.changes) == ("admin", "changed", [["Queue", "slow", "fast"]])


def test_keep_ends_the_drift_and_is_logged(admin_client: Client) -> None:
    settle(admin_client, button="_keep")
    assert stored().queue == "slow"
    assert not any(each.drift for each in sync())
    assert AuditEntry.objects.exclude(user=None).get().text == "Kept Queue, although the code has changed it."


def test_nothing_changes_if_the_user_has_not_seen_the_current_values(
    admin_client: Client, settings: Settings
) -> None:
    version = admin_client.get(change_url(stored())).context["origin"].version
    declare(settings, Schedule("0 3 * * *", queue="faster"))
    assert "Nothing was changed" in settle(admin_client, version=version).text
    declare(settings, Schedule("0 3 * * *", queue="fast"))
    edit(queue="slower")
    assert "Nothing was changed" in settle(admin_client, version=version).text
    assert stored().queue == "slower"
    assert not AuditEntry.objects.exclude(user=None).exists()


def test_a_schedule_that_is_not_from_the_code_has_nothing_to_go_back_to(admin_client: Client) -> None:
    form = {"field": "queue", "version": "", "_code": "x"}
    response = admin_client.post(page_url("origin", hourly()), form, follow=True)
    assert "Nothing was changed" in response.text


@pytest.mark.parametrize("form", [{"field": "nope", "_code": "x"}, {"field": "queue"}, {}])
def test_an_incomplete_request_is_not_found(admin_client: Client, form: dict[str, str]) -> None:
    assert admin_client.post(page_url("origin", stored()), form).status_code == 404


def test_it_takes_the_permission_to_edit_and_a_token(client: Client) -> None:
    for group in ("Job viewers", "Job operators"):
        member(client, group)
        assert "Back to code</button>" not in client.get(change_url(stored())).text
        assert settle(client).status_code == 403
        User.objects.all().delete()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("root"))
    assert settle(strict).status_code == 403
    assert strict.get(page_url("origin", stored())).status_code == 405
    assert stored().queue == "slow"


def test_secrets_are_masked(admin_client: Client) -> None:
    edit(kwargs='{"api_key": "hunter2"}')
    text = admin_client.get(change_url(stored())).text
    assert "hunter2" not in text.partition('id="edit-form"')[0]


def test_one_that_is_no_longer_declared_says_so(admin_client: Client, settings: Settings) -> None:
    applied(settings)
    text = admin_client.get(change_url(stored())).text
    assert f"The code declared it as “{JOB}”, and no longer does. It was disabled on " in text
    assert "no longer declared" in page(admin_client)


def test_before_the_next_deployment_it_says_what_that_will_do(
    admin_client: Client, settings: Settings
) -> None:
    declare(settings)
    assert "The next deployment disables it." in admin_client.get(change_url(stored())).text


def test_one_whose_job_cannot_be_imported_is_not_called_undeclared(
    admin_client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    override(settings, EXPOSED_COMMANDS={})
    failure = registry.ImportFailure(module=f"probes.management.commands.{JOB}", error="ImportError: no")
    monkeypatch.setattr(registry, "import_failures", lambda: (failure,))
    assert "Its job cannot be imported at the moment" in admin_client.get(change_url(stored())).text
    assert "no longer declared</div>" not in page(admin_client)


def test_a_schedule_says_why_it_is_disabled_in_this_environment(
    admin_client: Client, settings: Settings
) -> None:
    override(settings, ENVIRONMENT="staging", ENVIRONMENTS=["production", "staging"])
    applied(settings, Schedule("0 3 * * *", queue="fast", only_in=("production",)))
    why = "enabled only in production; this is staging"
    assert f"Disabled here: it is {why}." in admin_client.get(change_url(stored())).text
    assert why in page(admin_client)


def test_a_declaration_that_is_not_valid_is_reported_and_hides_nothing(
    admin_client: Client, settings: Settings
) -> None:
    declare(settings, Schedule("0 3 * *"))
    text = admin_client.get(change_url(stored())).text
    assert "The declaration is not valid" in text
    assert 'id="edit-form"' in text
    assert JOB in page(admin_client)


def test_the_list_names_the_fields(admin_client: Client) -> None:
    hourly("made here")
    text = page(admin_client)
    assert '<td class="field-origin">code<div class="note drift">drift: Queue</div>' in text
    assert '<div class="note">edited: Priority</div>' in text
    assert '<td class="field-origin"><span class="quiet">admin</span>' in text


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("code", {JOB, "gone"}),
        ("admin", {"made here"}),
        ("drift", {JOB}),
        ("orphaned", {"gone"}),
        ("nonsense", {JOB, "gone", "made here"}),
    ],
)
def test_the_list_can_be_filtered(
    admin_client: Client, settings: Settings, origin: str, expected: set[str]
) -> None:
    hourly("made here")
    now = Schedule("0 3 * * *", queue="fast")
    applied(settings, now, Schedule("@daily", name="gone"))
    applied(settings, now)
    shipped = PeriodicTask.objects.exclude(name__in=[JOB, "gone", "made here"]).values_list("name", flat=True)
    found = admin_client.get(reverse(LIST), {"origin": origin}).context["cl"].result_list
    assert {schedule.name for schedule in found} - set(shipped) == expected
