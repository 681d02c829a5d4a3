"""``jobledger cancel`` cancels queued and running runs only."""

import io

import pytest
from django.core.management import CommandError, call_command

from jobledger.admin import audit_log
from jobledger.models import Status
from jobledger.runs import reasons
from jobledger.runs.identity import operating_system_user
from jobledger.schedules.audit import command_line_user
from tests.unit.jobledger.admin.runs.ledger import create_run

pytestmark = pytest.mark.django_db


def cancelled(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("jobledger", "cancel", *arguments, stdout=stdout)
    return stdout.getvalue()


def test_a_queued_run_is_cancelled_immediately_and_records_the_user_and_the_reason() -> None:
    run = create_run(status=Status.QUEUED)
    assert cancelled(str(run.pk)[:13], "--reason", "too slow") == f"Run {run.pk} was cancelled.\n"
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    assert reasons.cancelled_by(run) == f"{operating_system_user()} (too slow)"


def test_cancelling_a_running_run_requests_it_and_again_names_who_did() -> None:
    run = create_run(status=Status.RUNNING)
    assert (
        cancelled(str(run.pk))
        == f"Run {run.pk}: cancellation requested; it should stop within a few seconds.\n"
    )
    assert f"cancellation already requested by {operating_system_user()};" in cancelled(str(run.pk))
    run.refresh_from_db()
    assert (run.status, reasons.cancelled_by(run)) == (Status.RUNNING, operating_system_user())


def test_a_cancellation_is_in_the_audit_log_once_as_one_on_the_web_is() -> None:
    run = create_run(status=Status.RUNNING)
    for _ in range(2):
        cancelled(str(run.pk), "--reason", "too slow")
    entries = audit_log.entries_of(run).values_list("username", "text")
    assert list(entries) == [(command_line_user(), "Cancelled: too slow")]


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.CANCELLED])
def test_a_finished_run_cannot_be_cancelled(status: Status) -> None:
    run = create_run(status=status)
    with pytest.raises(CommandError, match=f"Run {run.pk} is already over: {status}") as raised:
        cancelled(str(run.pk))
    assert raised.value.returncode == 1


def test_a_reason_that_is_too_long_is_rejected_before_anything_happens() -> None:
    run = create_run(status=Status.QUEUED)
    with pytest.raises(CommandError, match="--reason: it is longer than"):
        cancelled(str(run.pk), "--reason", "x" * 300)
    run.refresh_from_db()
    assert run.status == Status.QUEUED
    assert not audit_log.entries_of(run).exists()
