"""A database outage is reported to operators in a single line."""

import os
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Run


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("connection refused", "The database cannot be queried: connection refused"),
        ("no such table: jobledger_run", "no such table: jobledger_run. Run `manage.py jobledger setup`."),
        ('relation "jobledger_run" does not exist', "Run `manage.py jobledger setup`."),
    ],
)
def test_a_database_outage_is_a_message(said: str, told: str) -> None:
    with (
        patch.object(Run.objects, "newest_first", side_effect=OperationalError(said)),
        pytest.raises(CommandError, match=told),
    ):
        call_command("jobledger", "runs")


def test_a_reader_that_has_closed_the_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        command = OperatorCommand(stdout=stdout)
        for _ in range(3):
            command.say("Created send_invoices.py")
