"""Runs are read in the admin, with their output as data, and cancelled and started again by who may."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from tasks_app.jobs.models import Run, RunAttempt, RunOutput, Status, Stream, Trigger

pytestmark = pytest.mark.django_db


def made(**values: object) -> Run:
    return Run.objects.create(
        **{"job": "probe", "trigger": Trigger.CLI, "status": Status.SUCCEEDED, **values}
    )


LIST = "admin:jobs_run_changelist"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def page_of(client: Client, run: Run) -> str:
    return client.get(reverse("admin:jobs_run_change", args=[run.pk])).text


def press(client: Client, button: str, run: Run) -> Any:
    return client.post(reverse(f"admin:jobs_run_{button}", args=[run.pk]))


def logged(run: Run) -> list[str]:
    return [str(entry) for entry in LogEntry.objects.filter(object_id=str(run.pk))]


@pytest.fixture
def reader(client: Client) -> User:
    """Somebody who may look at runs; the client is theirs."""
    user = User.objects.create(username="reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    return user


def test_the_list_shows_job_state_and_error(admin_client: Client) -> None:
    run = made(status=Status.FAILED, error="no luck\nat all")
    page = admin_client.get(reverse("admin:jobs_run_changelist")).text
    assert str(run.pk)[:8] in page
    assert '#failed"></use></svg>failed</span>' in page
    assert "no luck" in page
    assert "at all" not in page


def test_the_list_can_be_filtered(admin_client: Client) -> None:
    made(job="other_job")
    made(status=Status.MISSED)
    page = admin_client.get(reverse("admin:jobs_run_changelist"), {"status__exact": "missed"}).text
    assert "1 run" in page


def test_every_state_has_its_mark(admin_client: Client) -> None:
    for status in Status:
        made(status=status)
    assert admin_client.get(reverse("admin:jobs_run_changelist")).status_code == 200


def test_a_run_shows_its_output_in_order_and_as_data(admin_client: Client) -> None:
    run = made()
    for number, text in enumerate(["first\n", "<script>alert(1)</script>\n"]):
        RunOutput.objects.create(run=run, number=number, stream=Stream.STDOUT, text=text)
    page = admin_client.get(reverse("admin:jobs_run_change", args=[run.pk])).text
    assert "<pre>first\n&lt;script&gt;alert(1)&lt;/script&gt;\n</pre>" in page
    assert "<script>alert(1)</script>" not in page


def test_nobody_edits_what_happened(admin_client: Client) -> None:
    run = made()
    assert admin_client.get(reverse("admin:jobs_run_add")).status_code == 403
    response = admin_client.post(reverse("admin:jobs_run_change", args=[run.pk]), {"status": "succeeded"})
    assert response.status_code == 403


def test_each_attempts_output_is_told_apart(admin_client: Client) -> None:
    run = made(attempt=2)
    for attempt in 1, 2:
        text = f"from {attempt}"
        RunOutput.objects.create(run=run, attempt=attempt, number=0, stream=Stream.STDOUT, text=text)
    page = page_of(admin_client, run)
    assert "<strong>attempt 1</strong><pre>from 1</pre><strong>attempt 2</strong><pre>from 2</pre>" in page


def test_earlier_attempts_are_shown_to_who_may_see_the_run(client: Client, reader: User) -> None:
    run = made(attempt=2)
    RunAttempt.objects.create(
        run=run, attempt=1, status=Status.LOST, finished_at=NOON, error="no luck", traceback="<line 1>"
    )
    page = page_of(client, run)
    assert "Earlier attempts" in page
    assert "no luck" in page
    assert "<pre>&lt;line 1&gt;</pre>" in page
    assert "Earlier attempts" not in page_of(client, made())


def test_progress_is_shown_in_figures(admin_client: Client) -> None:
    beat = NOON + timedelta(seconds=10)
    run = made(
        status=Status.RUNNING, started_at=NOON, heartbeat_at=beat, progress_done=25, progress_total=100
    )
    assert "25 of 100 (25%), 2.5 a second, 0:00:30 left" in page_of(admin_client, run)


def test_a_queued_run_is_cancelled_at_once(admin_client: Client) -> None:
    run = made(status=Status.QUEUED)
    response = admin_client.post(reverse("admin:jobs_run_cancel", args=[run.pk]), follow=True)
    assert "The run is cancelled." in response.text
    run.refresh_from_db()
    assert (run.status, run.cancelled_by) == (Status.CANCELLED, "admin")
    assert len(logged(run)) == 1


def test_a_running_run_is_asked_to_end(admin_client: Client) -> None:
    run = made(status=Status.RUNNING)
    response = admin_client.post(reverse("admin:jobs_run_cancel", args=[run.pk]), follow=True)
    assert "The run ends within a few seconds." in response.text
    run.refresh_from_db()
    assert (run.status, run.cancelled_by, bool(run.cancel_requested_at)) == (Status.RUNNING, "admin", True)


def test_what_is_over_stays_as_it_is(admin_client: Client) -> None:
    run = made()
    response = admin_client.post(reverse("admin:jobs_run_cancel", args=[run.pk]), follow=True)
    assert "The run is over" in response.text
    run.refresh_from_db()
    assert (run.status, run.cancelled_by, logged(run)) == (Status.SUCCEEDED, "", [])


def test_run_again_starts_the_same_and_goes_to_its_page(admin_client: Client, admin_user: User) -> None:
    run = made(options={"level": 3}, status=Status.FAILED)
    response = press(admin_client, "start_again", run)
    new = Run.objects.exclude(pk=run.pk).get()
    assert response.url == reverse("admin:jobs_run_change", args=[new.pk])
    assert (new.options, new.trigger, new.who, new.user) == ({"level": 3}, "admin", "admin", admin_user)
    (entry,) = logged(run)
    assert f"Started again as run {new.pk}." in entry


def test_a_job_that_is_gone_is_not_run_again_and_that_is_said(admin_client: Client) -> None:
    run = made(job="retired")
    response = admin_client.post(reverse("admin:jobs_run_start_again", args=[run.pk]), follow=True)
    assert "There is no job or task &#x27;retired&#x27; any more." in response.text
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("status", "shown", "hidden"),
    [(Status.RUNNING, "cancel", "start_again"), (Status.FAILED, "start_again", "cancel")],
)
def test_the_page_offers_what_the_runs_state_allows(
    admin_client: Client, status: Status, shown: str, hidden: str
) -> None:
    run = made(status=status)
    page = page_of(admin_client, run)
    assert f'formaction="{reverse(f"admin:jobs_run_{shown}", args=[run.pk])}"' in page
    assert reverse(f"admin:jobs_run_{hidden}", args=[run.pk]) not in page


@pytest.mark.parametrize(
    ("status", "button", "codename"),
    [(Status.RUNNING, "cancel", "cancel_run"), (Status.FAILED, "start_again", "start_run")],
)
def test_each_button_needs_its_permission(
    client: Client, reader: User, status: Status, button: str, codename: str
) -> None:
    run = made(status=status)
    assert "formaction" not in page_of(client, run)
    assert press(client, button, run).status_code == 403
    run.refresh_from_db()
    assert (run.cancel_requested_at, Run.objects.count()) == (None, 1)
    reader.user_permissions.add(Permission.objects.get(codename=codename))
    assert "formaction" in page_of(client, run)
    assert press(client, button, run).status_code == 302


@pytest.mark.parametrize("button", ["cancel", "start_again"])
def test_who_may_press_but_not_look_presses_in_vain(client: Client, reader: User, button: str) -> None:
    reader.user_permissions.set(Permission.objects.filter(codename__in=["cancel_run", "start_run"]))
    assert press(client, button, made()).status_code == 403


@pytest.mark.parametrize("button", ["cancel", "start_again"])
def test_a_link_alone_changes_nothing(admin_client: Client, button: str) -> None:
    url = reverse(f"admin:jobs_run_{button}", args=[made(status=Status.QUEUED).pk])
    assert admin_client.get(url).status_code == 405


@pytest.mark.parametrize("button", ["cancel", "start_again"])
def test_another_site_cannot_press_a_button(admin_user: User, button: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert press(client, button, made()).status_code == 403


def test_selected_runs_are_cancelled_together(admin_client: Client) -> None:
    runs = [made(status=status) for status in (Status.QUEUED, Status.RUNNING, Status.FAILED)]
    form = {"action": "cancel_runs", "_selected_action": [str(run.pk) for run in runs]}
    assert "2 runs were asked to end." in admin_client.post(reverse(LIST), form, follow=True).text
    for run in runs:
        run.refresh_from_db()
    assert [run.status for run in runs] == [Status.CANCELLED, Status.RUNNING, Status.FAILED]
    assert [run.cancelled_by for run in runs] == ["admin", "admin", ""]
    assert [len(logged(run)) for run in runs] == [1, 1, 0]


def test_without_the_permission_nothing_can_be_cancelled_from_the_list(client: Client, reader: User) -> None:
    run = made(status=Status.QUEUED)
    assert "cancel_runs" not in client.get(reverse(LIST)).text
    client.post(reverse(LIST), {"action": "cancel_runs", "_selected_action": [str(run.pk)]})
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_secrets_are_masked_on_the_page_of_a_run(admin_client: Client) -> None:
    page = page_of(admin_client, made(job="choosing", options={"api_key": "hunter2", "days": 3}))
    assert "hunter2" not in page
    assert "{&quot;api_key&quot;: &quot;********&quot;, &quot;days&quot;: 3}" in page
