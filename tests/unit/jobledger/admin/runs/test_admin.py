"""Runs in the admin: pages, buttons, actions and permissions."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from jobledger.admin.runs import search
from jobledger.models import AuditEntry, Run, RunAttempt, RunOutput, Status, Stream, Trigger
from jobledger.runs import reasons
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db


def create_run(**values: object) -> Run:
    return Run.objects.create(
        **{"job": "probe", "trigger": Trigger.CLI, "status": Status.SUCCEEDED, **values}
    )


LIST = "admin:jobledger_run_changelist"


def page_of(client: Client, run: Run) -> str:
    return client.get(reverse("admin:jobledger_run_change", args=[run.pk])).text


def press(client: Client, button: str, run: Run) -> Any:
    return client.post(reverse(f"admin:jobledger_run_{button}", args=[run.pk]))


def audit_entries(run: Run) -> list[str]:
    return [str(entry) for entry in AuditEntry.objects.filter(object_id=str(run.pk))]


@pytest.fixture
def reader(client: Client) -> User:
    """A logged-in user who may view runs."""
    user = User.objects.create(username="reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    return user


def test_the_list_shows_job_status_and_error(admin_client: Client) -> None:
    run = create_run(status=Status.FAILED, error="no luck\nat all")
    page = admin_client.get(reverse(LIST)).text
    assert str(run.pk)[:8] in page
    assert '#failed"></use></svg>failed</span>' in page
    assert "no luck" in page
    assert "at all" not in page


def test_the_list_can_be_filtered(admin_client: Client) -> None:
    other, missed = create_run(job="other_job"), create_run(status=Status.MISSED)
    page = admin_client.get(reverse(LIST), {"status": "missed"}).text
    assert str(missed.pk) in page
    assert str(other.pk) not in page


def test_an_empty_list_says_what_to_do_next(admin_client: Client) -> None:
    assert "No runs yet." in admin_client.get(reverse(LIST)).text
    create_run()
    page = admin_client.get(reverse(LIST), {"status": "lost"}).text
    assert "No runs match." in page
    assert f'<a href="{reverse(LIST)}">Show all runs</a>' in page


def test_a_search_that_stopped_early_can_be_continued(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED", 1)
    for _ in range(3):
        create_run(status=Status.FAILED)
        create_run(trigger=Trigger.ADMIN)
    page = admin_client.get(reverse(LIST), {"status": "failed", "trigger": "admin"}).text
    assert "Searched back to" in page
    assert re.search(r'href="\?[^"]*before=[^"]*">Search older runs', page)


def test_a_search_by_run_id_redirects_to_the_run(admin_client: Client) -> None:
    run = create_run()
    create_run()
    response = admin_client.get(reverse(LIST), {"q": str(run.pk)})
    assert response.headers["Location"] == reverse("admin:jobledger_run_change", args=[run.pk])


def test_runs_in_every_status_can_be_shown(admin_client: Client) -> None:
    runs = [create_run(status=status) for status in Status]
    assert admin_client.get(reverse(LIST)).status_code == 200
    for run in runs:
        assert f'#{run.status}"></use>' in page_of(admin_client, run)


def test_the_page_explains_what_happened(admin_client: Client) -> None:
    run = create_run(
        status=Status.SKIPPED,
        reason="paused",
        reason_details={"comment": "migration"},
        schedule_name="nightly",
    )
    assert "Skipped: schedule nightly was paused until resumed: migration." in page_of(admin_client, run)


def test_earlier_attempts_are_shown_to_users_who_may_view_the_run(client: Client, reader: User) -> None:
    run = create_run(attempt=2)
    RunAttempt.objects.create(
        run=run, attempt=1, status=Status.LOST, finished_at=NOON, error="no luck", traceback="<line 1>"
    )
    page = page_of(client, run)
    assert "Earlier attempts" in page
    assert "no luck" in page
    assert "&lt;line 1&gt;" in page
    assert "Earlier attempts" not in page_of(client, create_run())


def test_runs_cannot_be_added_edited_or_deleted(admin_client: Client) -> None:
    run = create_run()
    assert admin_client.get(reverse("admin:jobledger_run_add")).status_code == 403
    for name in ("change", "delete"):
        url = reverse(f"admin:jobledger_run_{name}", args=[run.pk])
        assert admin_client.post(url, {"status": "succeeded", "post": "yes"}).status_code == 403


def test_progress_is_shown_as_text_and_as_a_bar(admin_client: Client) -> None:
    beat = NOON + timedelta(seconds=10)
    run = create_run(
        status=Status.RUNNING, started_at=NOON, heartbeat_at=beat, progress_done=25, progress_total=100
    )
    page = page_of(admin_client, run)
    assert "25 of 100 (25%), 2.5 per second, 0:00:30 left" in page
    assert '<progress aria-label="Progress" value="25" max="100">' in page


def test_output_can_be_downloaded_as_text(admin_client: Client) -> None:
    run = create_run()
    RunOutput.objects.create(run=run, number=0, stream=Stream.STDOUT, text="<b>\x1b[31mone\n")
    response = admin_client.get(reverse("admin:jobledger_run_output", args=[run.pk]))
    assert b"".join(response) == b"<b>\x1b[31mone\n"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"] == f'attachment; filename="probe-{str(run.pk)[:8]}.txt"'


def test_output_can_be_viewed_as_text_without_escapes(admin_client: Client) -> None:
    run = create_run()
    RunOutput.objects.create(run=run, number=0, stream=Stream.STDOUT, text="\x1b[31mone\n")
    response = admin_client.get(reverse("admin:jobledger_run_output", args=[run.pk]), {"look": ""})
    assert b"".join(response) == b"one\n"
    assert "attachment" not in response.headers["Content-Disposition"]


@pytest.mark.parametrize("name", ["change", "live", "output"])
@pytest.mark.parametrize("run_id", ["5f3c0c62-8b6e-4a9d-9e53-3d6c3d1d7a11", "not-an-id"])
def test_an_unknown_run_is_not_found(admin_client: Client, name: str, run_id: str) -> None:
    url = {"change": f"{run_id}/change/", "live": f"{run_id}/live/", "output": f"{run_id}/output.txt"}[name]
    response = admin_client.get(reverse(LIST) + url, follow=True)
    assert response.status_code == 404


@pytest.mark.parametrize("name", ["change", "live", "output", "history"])
def test_runs_are_hidden_from_users_without_permission(client: Client, reader: User, name: str) -> None:
    run = create_run(status=Status.RUNNING)
    RunOutput.objects.create(run=run, number=0, stream=Stream.STDOUT, text="secret")
    url = reverse(f"admin:jobledger_run_{name}", args=[run.pk])
    assert client.get(url).status_code == 200
    reader.user_permissions.clear()
    response = client.get(url)
    assert (response.status_code, "secret" in response.text) == (403, False)
    assert client.get(reverse(LIST)).status_code == 403


def test_a_queued_run_is_cancelled_immediately(admin_client: Client) -> None:
    run = create_run(status=Status.QUEUED)
    response = admin_client.post(reverse("admin:jobledger_run_cancel", args=[run.pk]), follow=True)
    assert "The run has been cancelled." in response.text
    run.refresh_from_db()
    assert (run.status, reasons.cancelled_by(run)) == (Status.CANCELLED, "admin")
    assert len(audit_entries(run)) == 1


def test_a_running_run_is_asked_to_cancel(admin_client: Client) -> None:
    run = create_run(status=Status.RUNNING)
    response = admin_client.post(reverse("admin:jobledger_run_cancel", args=[run.pk]), follow=True)
    assert "The run will end within a few seconds." in response.text
    run.refresh_from_db()
    assert (run.status, bool(run.cancel_requested_at)) == (Status.RUNNING, True)
    assert reasons.cancelled_by(run) == "admin"


def test_a_run_that_has_ended_is_not_cancelled(admin_client: Client) -> None:
    run = create_run()
    response = admin_client.post(reverse("admin:jobledger_run_cancel", args=[run.pk]), follow=True)
    assert "The run has already ended" in response.text
    run.refresh_from_db()
    assert (run.status, reasons.cancelled_by(run), audit_entries(run)) == (Status.SUCCEEDED, "", [])


def test_run_again_starts_the_same_job_and_redirects_to_the_new_run(
    admin_client: Client, admin_user: User
) -> None:
    run = create_run(options={"level": 3}, status=Status.FAILED)
    response = press(admin_client, "start_again", run)
    new = Run.objects.exclude(pk=run.pk).get()
    assert response.url == reverse("admin:jobledger_run_change", args=[new.pk])
    assert (new.options, new.trigger, new.username, new.user) == ({"level": 3}, "admin", "admin", admin_user)
    assert len(audit_entries(run)) == 1


def test_a_job_that_no_longer_exists_cannot_be_run_again(admin_client: Client) -> None:
    run = create_run(job="retired")
    response = admin_client.post(reverse("admin:jobledger_run_start_again", args=[run.pk]), follow=True)
    assert "Job or task &#x27;retired&#x27; no longer exists." in response.text
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("status", "shown", "hidden"),
    [(Status.RUNNING, "cancel", "start_again"), (Status.FAILED, "start_again", "cancel")],
)
def test_buttons_depend_on_the_status(admin_client: Client, status: Status, shown: str, hidden: str) -> None:
    run = create_run(status=status)
    page = page_of(admin_client, run)
    assert f'action="{reverse(f"admin:jobledger_run_{shown}", args=[run.pk])}"' in page
    assert reverse(f"admin:jobledger_run_{hidden}", args=[run.pk]) not in page


@pytest.mark.parametrize(
    ("status", "button", "codename"),
    [(Status.RUNNING, "cancel", "cancel_run"), (Status.FAILED, "start_again", "start_run")],
)
def test_each_button_requires_its_permission(
    client: Client, reader: User, status: Status, button: str, codename: str
) -> None:
    run = create_run(status=status)
    url = reverse(f"admin:jobledger_run_{button}", args=[run.pk])
    assert url not in page_of(client, run)
    assert press(client, button, run).status_code == 403
    run.refresh_from_db()
    assert (run.cancel_requested_at, Run.objects.count()) == (None, 1)
    reader.user_permissions.add(Permission.objects.get(codename=codename))
    assert url in page_of(client, run)
    assert press(client, button, run).status_code == 302


@pytest.mark.parametrize("button", ["cancel", "start_again"])
def test_buttons_also_require_permission_to_view_runs(client: Client, reader: User, button: str) -> None:
    reader.user_permissions.set(Permission.objects.filter(codename__in=["cancel_run", "start_run"]))
    assert press(client, button, create_run()).status_code == 403


@pytest.mark.parametrize("button", ["cancel", "start_again"])
def test_buttons_require_a_post_request(admin_client: Client, button: str) -> None:
    url = reverse(f"admin:jobledger_run_{button}", args=[create_run(status=Status.QUEUED).pk])
    assert admin_client.get(url).status_code == 405


@pytest.mark.parametrize("button", ["cancel", "start_again"])
def test_buttons_are_protected_against_cross_site_requests(admin_user: User, button: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert press(client, button, create_run()).status_code == 403


def test_selected_runs_are_cancelled_together(admin_client: Client) -> None:
    runs = [create_run(status=status) for status in (Status.QUEUED, Status.RUNNING, Status.FAILED)]
    form = {"action": "cancel_runs", "_selected_action": [str(run.pk) for run in runs]}
    assert "Cancelling 2 runs." in admin_client.post(reverse(LIST), form, follow=True).text
    for run in runs:
        run.refresh_from_db()
    assert [run.status for run in runs] == [Status.CANCELLED, Status.RUNNING, Status.FAILED]
    assert [reasons.cancelled_by(run) for run in runs] == ["admin", "admin", ""]
    assert [len(audit_entries(run)) for run in runs] == [1, 1, 0]


def test_cancelling_from_the_list_requires_permission(client: Client, reader: User) -> None:
    run = create_run(status=Status.QUEUED)
    assert "cancel_runs" not in client.get(reverse(LIST)).text
    client.post(reverse(LIST), {"action": "cancel_runs", "_selected_action": [str(run.pk)]})
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_selected_runs_are_run_again_together(admin_client: Client) -> None:
    runs = [create_run(), create_run(status=Status.FAILED), create_run(status=Status.RUNNING)]
    form = {"action": "start_runs_again", "_selected_action": [str(run.pk) for run in runs]}
    page = admin_client.post(reverse(LIST), form, follow=True).text
    assert "Started 2 runs." in page
    assert "is still running" in page
    assert Run.objects.filter(trigger=Trigger.ADMIN).count() == 2


def test_only_selected_runs_of_permitted_jobs_are_run_again(client: Client, reader: User) -> None:
    content_type = ContentType.objects.get_for_model(Run)
    reader.user_permissions.add(
        Permission.objects.create(codename="start_job_probe", content_type=content_type)
    )
    runs = [create_run(), create_run(job="lasting")]
    form = {"action": "start_runs_again", "_selected_action": [str(run.pk) for run in runs]}
    page = client.post(reverse(LIST), form, follow=True).text
    assert "Started 1 run." in page
    assert "you do not have permission to run their jobs: 1." in page
    assert [run.job for run in Run.objects.filter(trigger=Trigger.ADMIN)] == ["probe"]
    assert press(client, "start_again", runs[1]).status_code == 403


@pytest.mark.parametrize("action", ["cancel_runs", "start_runs_again"])
def test_actions_require_permission(client: Client, reader: User, action: str) -> None:
    run = create_run()
    assert action not in client.get(reverse(LIST)).text
    assert (
        client.post(reverse(LIST), {"action": action, "_selected_action": [str(run.pk)]}).status_code == 403
    )
    assert Run.objects.count() == 1


def test_a_missing_action_is_reported(admin_client: Client) -> None:
    create_run()
    assert (
        "No action selected."
        in admin_client.post(reverse(LIST), {"_selected_action": ["x"]}, follow=True).text
    )


def test_secrets_are_masked_on_the_page(admin_client: Client) -> None:
    page = page_of(admin_client, create_run(job="choosing", options={"api_key": "hunter2", "days": 3}))
    assert "hunter2" not in page
    assert "<code>api_key</code></dt><dd><code>********</code>" in page


def test_only_runs_of_permitted_jobs_can_be_run_again(client: Client, reader: User) -> None:
    content_type = ContentType.objects.get_for_model(Run)
    reader.user_permissions.add(
        Permission.objects.create(
            content_type=content_type, codename="start_job_probe", name="Can start probe"
        )
    )
    assert press(client, "start_again", create_run(job="hello")).status_code == 403
    run = create_run()
    assert f"{reverse('admin:jobledger_job_run', args=['probe'])}?run={run.pk}" in page_of(client, run)
    assert press(client, "start_again", run).status_code == 302
