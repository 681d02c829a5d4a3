"""Jobs in the admin: the list, the page of a job, starting jobs, permissions and the audit log."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin.jobs import views
from jobledger.admin.options.form import OptionsForm
from jobledger.models import AuditEntry, NextSlot, Pause, Run, Status, Trigger
from tests.unit.broker import Broker
from tests.unit.builders import utc
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.parsers import arg

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]

LIST = "/admin/jobledger/job/"
NOON = utc(2026, 3, 1, 12)


def page_url(job: str) -> str:
    return f"{LIST}{job}/"


def run_form_url(job: str, run: Run | None = None) -> str:
    return f"{LIST}{job}/run/" + (f"?run={run.pk}" if run else "")


def create_run(job: str = "choosing", **values: Any) -> Run:
    return Run.objects.create(**{"job": job, "trigger": Trigger.CLI, "status": Status.FAILED, **values})


def allow(user: User, *names: str) -> None:
    for name in names:
        app_label, _, codename = name.partition(".")
        found = Permission.objects.filter(content_type__app_label=app_label, codename=codename).first()
        run = ContentType.objects.get_for_model(Run)
        made = found or Permission.objects.create(content_type=run, codename=codename, name=codename)
        user.user_permissions.add(made)


@pytest.fixture
def staff(client: Client) -> User:
    """A logged-in user without any permissions."""
    user = User.objects.create(username="ann", is_staff=True)
    client.force_login(user)
    return user


# The list


def test_the_list_has_every_job_with_its_last_run(admin_client: Client) -> None:
    run = create_run(started_at=NOON, finished_at=NOON + timedelta(seconds=3))
    create_run(
        status=Status.SUCCEEDED, queued_at=NOON, started_at=NOON, finished_at=NOON + timedelta(seconds=7)
    )
    page = admin_client.get(LIST).text
    for shown in (
        "cleanup_tokens",
        "Print what was chosen.",
        reverse("admin:jobledger_run_change", args=[run.pk]),
    ):
        assert shown in page
    assert 'title="1 of the last 2 runs succeeded">50%' in page
    assert ">7 s</td>" in page
    assert "The rest of a long help." not in page


def test_the_list_shows_when_a_job_is_due(admin_client: Client) -> None:
    crontab = CrontabSchedule.objects.create(minute="0")
    for name, enabled in ("a", True), ("b", False):
        PeriodicTask.objects.create(name=name, task="probes.choosing", crontab=crontab, enabled=enabled)
    slot = timezone.now() + timedelta(hours=2, minutes=1)
    NextSlot.objects.filter(schedule__name="a").update(slot=slot, due_at=slot)
    page = admin_client.get(f"{LIST}?q=choosing").text
    assert "1 (1 disabled)" in page
    assert "in 2 h" in page


def test_the_list_can_be_searched_by_name_and_help(admin_client: Client) -> None:
    page = admin_client.get(f"{LIST}?q=WHAT+was+chosen").text
    assert page_url("choosing") in page
    assert page_url("cleanup_tokens") not in page
    assert "No job matches “&lt;b&gt;”" in admin_client.get(f"{LIST}?q=<b>").text


def test_the_number_of_queries_of_the_list_is_constant(admin_client: Client) -> None:
    admin_client.get(LIST)
    with CaptureQueriesContext(connection) as few:
        admin_client.get(LIST)
    for job in "choosing", "probe", "hello", "cleanup_tokens":
        for _ in range(3):
            create_run(job)
    with CaptureQueriesContext(connection) as many:
        admin_client.get(LIST)
    assert len(many) == len(few) <= 5


def test_a_user_who_may_start_one_job_sees_only_that_job(client: Client, staff: User) -> None:
    assert "There are no jobs that you can view." in client.get(LIST).text
    allow(staff, "jobledger.start_job_choosing")
    page = client.get(LIST).text
    assert run_form_url("choosing") in page
    assert "cleanup_tokens" not in page


def test_a_viewer_has_no_links_to_start_jobs(client: Client, staff: User) -> None:
    allow(staff, "jobledger.view_run")
    for address in LIST, page_url("choosing"):
        page = client.get(address).text
        assert "choosing" in page
        assert "/run/" not in page.replace("/jobledger/run/", "")


# A job's page


def test_the_page_describes_the_job(admin_client: Client) -> None:
    page = admin_client.get(page_url("choosing")).text
    for shown in (
        "The rest of a long help.",
        "manage.py choosing ",
        "--api-key API_KEY",
        "How many days (default: 30).",
        "Runs may overlap.",
        "This job has not run yet.",
        "No schedules. This job runs only when someone starts it.",
        run_form_url("choosing"),
    ):
        assert shown in page


def test_the_page_shows_recent_runs_and_statistics(admin_client: Client) -> None:
    run = create_run(error="no <luck>", schedule_name="nightly")
    page = admin_client.get(page_url("choosing")).text
    assert "The last run did not succeed (0%)" in page
    assert "no &lt;luck&gt;" in page
    assert f'href="{run_form_url("choosing", run)}"' in page


def test_the_page_shows_runs_like_the_list_without_secrets(admin_client: Client) -> None:
    create_run(
        error="bad key sesame-street",
        options={"api_key": "sesame-street"},
        trigger=Trigger.ADMIN,
        username="ann",
    )
    create_run(status=Status.MISSED, reason="deadline")
    page = admin_client.get(page_url("choosing")).text
    for shown in ("bad key ********", "ann on the web", "and its start deadline has passed"):
        assert shown in page
    assert "sesame" not in page


def test_the_number_of_queries_of_the_page_is_constant(admin_client: Client) -> None:
    create_run()
    with CaptureQueriesContext(connection) as few:
        admin_client.get(page_url("choosing"))
    for _ in range(5):
        create_run()
    with CaptureQueriesContext(connection) as many:
        admin_client.get(page_url("choosing"))
    assert len(many) == len(few)


def test_the_page_shows_schedules_including_broken_ones(admin_client: Client) -> None:
    crontab = CrontabSchedule.objects.create(minute="0")
    for name in "good", "bad":
        PeriodicTask.objects.create(name=name, task="probes.choosing", crontab=crontab)
    NextSlot.objects.filter(schedule__name="bad").update(broken="no such zone", due_at=None)
    page = admin_client.get(page_url("choosing")).text
    assert ">good</a> <span>every hour" in page
    assert "no such zone" in page


def test_the_page_shows_that_a_schedule_is_paused(admin_client: Client) -> None:
    crontab = CrontabSchedule.objects.create(minute="0")
    schedule = PeriodicTask.objects.create(name="a", task="probes.choosing", crontab=crontab)
    assert "mark-paused" not in admin_client.get(page_url("choosing")).text
    Pause.objects.create(schedule=schedule)
    assert "mark-paused" in admin_client.get(page_url("choosing")).text


def test_the_page_hides_what_the_user_may_not_view(client: Client, staff: User) -> None:
    create_run(error="no luck")
    allow(staff, "jobledger.start_job_choosing")
    page = client.get(page_url("choosing")).text
    assert "no luck" not in page
    assert "Schedules</h2>" not in page


def test_an_unknown_job_is_not_found(admin_client: Client) -> None:
    assert admin_client.get(page_url("gone")).status_code == 404
    assert admin_client.get(run_form_url("gone")).status_code == 404


def test_the_page_requires_permission_to_view_or_start(client: Client, staff: User) -> None:
    assert client.get(page_url("choosing")).status_code == 403


# Starting


@pytest.mark.django_db(transaction=True)
def test_run_now_starts_a_run_with_options_and_user(
    admin_client: Client, admin_user: User, broker: Broker
) -> None:
    answer = admin_client.post(run_form_url("choosing"), {"option-days": "3", "option-pin": "4711"})
    run = Run.objects.get()
    assert answer["Location"] == reverse("admin:jobledger_run_change", args=[run.pk])
    assert (run.job, run.options) == ("choosing", {"days": 3, "pin": "4711"})
    assert (run.trigger, run.username, run.user, run.status) == ("admin", "admin", admin_user, "queued")
    assert [message.name for message in broker.messages] == ["probes.choosing"]


def test_starts_are_logged_without_secrets(admin_client: Client, admin_user: User) -> None:
    admin_client.post(run_form_url("choosing"), {"option-days": "3", "option-pin": "4711"})
    entry = AuditEntry.objects.get()
    assert (entry.user, entry.object_id) == (admin_user, str(Run.objects.get().pk))
    assert entry.text == "Started manage.py choosing --days 3 --pin '********'."


def test_invalid_options_start_nothing_and_show_an_error(admin_client: Client) -> None:
    answer = admin_client.post(run_form_url("choosing"), {"option-days": "x"})
    assert "argument --days: invalid int value" in answer.text
    assert "The job was not started." in answer.text
    assert not Run.objects.exists()


def test_a_dry_run_adds_the_flag(admin_client: Client) -> None:
    admin_client.post(run_form_url("choosing"), {"option-days": "3", "dry_run": "1"})
    assert Run.objects.get().options == {"days": 3, "dry_run": True}


def test_a_job_without_the_flag_has_no_dry_run_button(admin_client: Client) -> None:
    assert 'name="dry_run"' in admin_client.get(run_form_url("choosing")).text
    assert 'name="dry_run"' not in admin_client.get(run_form_url("hello")).text
    admin_client.post(run_form_url("hello"), {"dry_run": "1"})
    assert Run.objects.get().options == {}


def test_a_dry_run_option_with_a_value_is_not_a_flag() -> None:
    assert views._dry_run_flag(OptionsForm(a_job(arg("--dry-run")), {})) is None


def test_the_form_is_filled_in_from_a_past_run_and_keeps_its_secrets(admin_client: Client) -> None:
    past = create_run(
        options={"days": 9, "api_key": "hunter2"},
        scheduled_for=NOON,
        schedule_name="nightly",
        routing={"queue": "slow"},
    )
    page = admin_client.get(run_form_url("choosing", past)).text
    assert 'value="9"' in page
    assert "hunter2" not in page
    assert "The new run is for the same scheduled time, 2026-03-01 12:00:00 UTC." in page
    admin_client.post(run_form_url("choosing", past), {"option-days": "8"})
    run = Run.objects.exclude(pk=past.pk).get()
    assert run.options == {"days": 8, "api_key": "hunter2"}
    assert (run.scheduled_for, run.schedule_name, run.schedule) == (NOON, "nightly", None)
    assert run.routing == {"queue": "slow"}
    assert f"repeating run {past.pk}" in AuditEntry.objects.get().text


@pytest.mark.parametrize(
    "changes", [{"option-only": "evil.example"}, {"option-names": "evil"}, {"option-tag": "evil"}]
)
def test_a_stored_secret_is_not_reused_with_other_options(
    admin_client: Client, changes: dict[str, str]
) -> None:
    past = create_run(options={"api_key": "hunter2", "only": "ours.example"})
    page = admin_client.post(run_form_url("choosing", past), changes)
    assert "Enter api_key again or remove it." in page.text
    assert list(Run.objects.all()) == [past]


@pytest.mark.parametrize(
    ("secret", "expected"),
    [({"option-api_key": "mine"}, {"api_key": "mine"}), ({"option-api_key-clear": "on"}, {})],
)
def test_other_options_require_a_new_secret_or_none(
    admin_client: Client, secret: dict[str, str], expected: dict[str, str]
) -> None:
    past = create_run(options={"api_key": "hunter2", "only": "ours.example"})
    admin_client.post(run_form_url("choosing", past), {"option-only": "other.example", **secret})
    assert Run.objects.exclude(pk=past.pk).get().options == {"only": "other.example", **expected}


@pytest.mark.parametrize("query", ["?run=nonsense", "?run=5ba1f6ff-6a3a-4a4c-9a3e-2f4f0e7b3c11"])
def test_an_unknown_past_run_is_not_found(admin_client: Client, query: str) -> None:
    assert admin_client.get(run_form_url("choosing") + query).status_code == 404


def test_a_past_run_of_another_job_is_not_found(admin_client: Client) -> None:
    assert admin_client.get(run_form_url("choosing", create_run("probe"))).status_code == 404


def test_options_of_a_past_run_require_permission_to_view_runs(client: Client, staff: User) -> None:
    allow(staff, "jobledger.start_run")
    past = create_run(options={"api_key": "hunter2"})
    assert client.get(run_form_url("choosing", past)).status_code == 403
    assert client.post(run_form_url("choosing", past)).status_code == 403
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("permission", "answer"),
    [
        ("", 403),
        ("jobledger.view_run", 403),
        ("jobledger.start_job_probe", 403),
        ("jobledger.start_job_choosing", 302),
        ("jobledger.start_run", 302),
    ],
)
def test_starting_requires_permission_for_the_job(
    client: Client, staff: User, permission: str, answer: int
) -> None:
    if permission:
        allow(staff, permission)
    assert client.post(run_form_url("choosing"), {"option-days": "3"}).status_code == answer
    assert Run.objects.count() == (answer == 302)


def test_a_user_who_may_not_view_runs_is_redirected_to_the_job(client: Client, staff: User) -> None:
    allow(staff, "jobledger.start_job_choosing")
    answer = client.post(run_form_url("choosing"), {}, follow=True)
    assert answer.redirect_chain == [(page_url("choosing"), 302)]
    assert "Run started." in answer.text


@pytest.mark.parametrize("page", ["", "choosing/", "choosing/run/", "choosing/options/"])
def test_every_page_requires_login(client: Client, page: str) -> None:
    answer = client.post(LIST + page) if page.endswith("options/") else client.get(LIST + page)
    assert answer.status_code == 302
    assert "/admin/login/" in answer["Location"]


@pytest.mark.parametrize("page", ["run/", "options/"])
def test_starting_is_protected_against_cross_site_requests(admin_user: User, page: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(page_url("choosing") + page, {}).status_code == 403
    assert not Run.objects.exists()


# The live command line


def test_the_command_line_is_updated_with_the_input(admin_client: Client) -> None:
    typed = {"option-days": "x", "option-api_key": "hunter2"}
    page = admin_client.post(page_url("choosing") + "options/", typed).text
    assert 'value="manage.py choosing --days x --api-key &#x27;********&#x27;"' in page
    assert "<html" not in page


def test_the_command_line_requires_a_post_request(admin_client: Client) -> None:
    assert admin_client.get(page_url("choosing") + "options/").status_code == 405


@pytest.mark.parametrize(
    ("permission", "answer"),
    [
        ("jobledger.view_run", 403),
        ("jobledger.start_job_choosing", 200),
        ("django_celery_beat.change_periodictask", 403),
    ],
)
def test_the_command_line_requires_permission_to_start(
    client: Client, staff: User, permission: str, answer: int
) -> None:
    allow(staff, permission)
    assert client.post(page_url("choosing") + "options/").status_code == answer
