"""``jobledger retry`` runs a run's job again, and prints the new run's id."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobledger.admin import audit_log
from jobledger.models import Run, Status, Trigger
from jobledger.runs.identity import operating_system_user
from jobledger.schedules.audit import command_line_user
from tests.unit.jobledger.admin.runs.ledger import create_run

pytestmark = pytest.mark.django_db


def retried(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("jobledger", "retry", *arguments, stdout=stdout)
    return stdout.getvalue()


def test_retry_prints_the_id_of_a_new_run_with_its_user() -> None:
    run = create_run(status=Status.FAILED, options={"level": 2})
    new = Run.objects.get(pk=retried(str(run.pk)).strip())
    assert (new.job, new.options, new.status) == ("probe", {"level": 2}, Status.QUEUED)
    assert (new.trigger, new.username) == (Trigger.CLI, operating_system_user())


def test_a_retry_is_in_the_audit_log_of_both_runs_as_one_on_the_web_is() -> None:
    run = create_run(status=Status.FAILED)
    new = Run.objects.get(pk=retried(str(run.pk)).strip())
    texts = {each: list(audit_log.entries_of(each).values_list("username", "text")) for each in (run, new)}
    assert texts == {
        run: [(command_line_user(), f"Started again as run {new.pk}.")],
        new: [(command_line_user(), f"Started as a repeat of run {run.pk}.")],
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [({"status": Status.RUNNING}, "is still running"), ({"job": "retired"}, "'retired' no longer exists")],
)
def test_a_run_that_cannot_be_retried_is_an_error(values: dict[str, Any], said: str) -> None:
    run = create_run(**values)
    with pytest.raises(CommandError, match=said) as raised:
        retried(str(run.pk))
    assert raised.value.returncode == 1
    assert Run.objects.count() == 1
