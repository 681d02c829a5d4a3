"""``jobledger cancel`` ends a run that is queued or running, and no other."""

import io

import pytest
from django.core.management import CommandError, call_command

from jobledger.models import Status
from jobledger.runs import reasons
from jobledger.runs.dispatch import operating_system_user
from tests.unit.jobledger.admin.runs.ledger import made

pytestmark = pytest.mark.django_db


def cancelled(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("jobledger", "cancel", *arguments, stdout=stdout)
    return stdout.getvalue()


def test_cancelling_a_queued_run_ends_it_at_once_and_keeps_who_and_why() -> None:
    run = made(status=Status.QUEUED)
    assert cancelled(str(run.pk)[:13], "--reason", "too slow") == f"Run {run.pk} is cancelled.\n"
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    assert reasons.cancelled_by(run) == f"{operating_system_user()} (too slow)"


def test_cancelling_a_running_run_asks_it_to_end_and_a_second_time_says_who_asked() -> None:
    run = made(status=Status.RUNNING)
    assert cancelled(str(run.pk)) == f"Run {run.pk} was asked to end; it does within a few seconds.\n"
    assert f"was already asked by {operating_system_user()} to end" in cancelled(str(run.pk))
    run.refresh_from_db()
    assert (run.status, reasons.cancelled_by(run)) == (Status.RUNNING, operating_system_user())


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.CANCELLED])
def test_what_is_over_cannot_be_cancelled(status: Status) -> None:
    run = made(status=status)
    with pytest.raises(CommandError, match=f"Run {run.pk} is over: {status}") as raised:
        cancelled(str(run.pk))
    assert raised.value.returncode == 1


def test_a_reason_that_is_too_long_is_refused_before_anything_happens() -> None:
    run = made(status=Status.QUEUED)
    with pytest.raises(CommandError, match="--reason: it is longer than"):
        cancelled(str(run.pk), "--reason", "x" * 300)
    run.refresh_from_db()
    assert run.status == Status.QUEUED
