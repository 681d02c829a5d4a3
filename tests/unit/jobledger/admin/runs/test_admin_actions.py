"""Cancelling runs and running them again: permissions, and entries in the audit log."""

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import DataError
from django.test import Client
from django.urls import reverse

from jobledger.admin.runs import admin, changes
from jobledger.admin.runs.search import PAGE_SIZE
from jobledger.models import AuditEntry, Run, Status
from jobledger.runs import reasons
from tests.unit.jobledger.admin.runs.ledger import create_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create(username="anna", is_staff=True)


def entries(run: Run) -> list[str]:
    return [entry.text for entry in AuditEntry.objects.filter(object_id=str(run.pk))]


def test_a_cancellation_is_logged_once(user: User) -> None:
    run = create_run(status=Status.RUNNING)
    assert changes.cancel_run(user, run)
    assert not changes.cancel_run(user, run)
    run.refresh_from_db()
    assert (reasons.cancelled_by(run), entries(run)) == ("anna", ["Cancelled."])


def test_without_its_entry_in_the_audit_log_nothing_is_cancelled(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise DataError("not a text")

    monkeypatch.setattr("jobledger.admin.audit_log.log_action", fail)
    run = create_run(status=Status.QUEUED)
    with pytest.raises(DataError):
        changes.cancel_run(user, run)
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_a_runs_history_says_who_cancelled_it(user: User, admin_client: Client) -> None:
    run, other = create_run(status=Status.RUNNING), create_run(status=Status.RUNNING)
    changes.cancel_run(user, run)
    page = admin_client.get(reverse("admin:jobledger_run_history", args=[run.pk])).text
    assert f"<h2>{user.username} <span" in page
    assert "<p>Cancelled.</p>" in page
    page = admin_client.get(reverse("admin:jobledger_run_history", args=[other.pk])).text
    assert "No one has cancelled this run or run it again in the admin." in page


def test_runs_that_have_ended_are_not_cancelled(user: User) -> None:
    runs = [create_run(status=status) for status in (Status.QUEUED, Status.RUNNING, Status.FAILED)]
    assert admin.cancel_runs(user, runs) == 2


def test_running_again_is_logged_for_both_runs(user: User) -> None:
    run = create_run(options={"level": 3})
    new = changes.start_run_again(user, run)
    assert (new.options, new.trigger, new.username, new.user) == ({"level": 3}, "admin", "anna", user)
    assert entries(run) == [f"Started again as run {new.pk}."]
    assert entries(new) == [f"Started as a repeat of run {run.pk}."]


def test_only_permitted_and_finished_runs_are_run_again(user: User) -> None:
    permission = Permission.objects.create(
        codename="start_job_probe", content_type=ContentType.objects.get_for_model(Run)
    )
    user.user_permissions.add(permission)
    runs = [create_run(), create_run(job="lasting"), create_run(status=Status.RUNNING)]
    outcome = admin.start_runs_again(user, runs)
    assert ([run.job for run in outcome.new], outcome.not_allowed) == (["probe"], 1)
    (error,) = outcome.errors
    assert "is still running" in error


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("action", ["start_runs_again", "cancel_runs"])
def test_an_action_applies_to_at_most_one_page_of_runs(admin_client: Client, action: str) -> None:
    status = Status.QUEUED if action == "cancel_runs" else Status.FAILED
    ids = [create_run(status=status).pk for _ in range(PAGE_SIZE + 3)]
    url = reverse("admin:jobledger_run_changelist")
    page = admin_client.post(url, {"action": action, "_selected_action": ids}, follow=True).text
    assert "Actions apply to at most 50 runs at a time; 3 runs were skipped." in page
    assert AuditEntry.objects.filter(object_id__in=map(str, ids)).count() == PAGE_SIZE
