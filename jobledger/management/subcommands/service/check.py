"""``jobledger check``: what ``manage.py check --database default`` finds, of this service alone."""

from collections.abc import Callable
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.core.management.base import CommandError

from jobledger.checks import run_own_checks
from jobledger.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    """Prints each message on stderr, the worst first; exits with 1 if there is a warning or an error."""

    help = (
        "Find mistakes in the project, the jobs and the stored schedules. Exits with 1 if there is a warning "
        "or an error; SILENCED_SYSTEM_CHECKS silences those that are intended."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run this service's checks and no others, also those of the database."""
        found = run_own_checks()
        heard = [message for message in found if not message.is_silenced()]
        for message in sorted(heard, key=lambda message: -message.level):
            self.remark(f"{message.id}: {message.msg}", self._style_of(message))
            if message.hint:
                self.remark(f"    {message.hint}")
        summary = f"({len(found) - len(heard)} silenced)."
        if problems := [message for message in heard if message.level >= checks.WARNING]:
            issues = "1 issue" if len(problems) == 1 else f"{len(problems)} issues"
            raise CommandError(f"{issues} {summary}")
        remarks = "1 remark" if len(heard) == 1 else f"{len(heard)} remarks"
        self.say(f"No issues beside {remarks} {summary}" if heard else f"No issues {summary}")

    def _style_of(self, message: CheckMessage) -> Callable[[str], str]:
        style: Callable[[str], str] = (
            self.style.ERROR if message.level >= checks.ERROR else self.style.WARNING
        )
        return style
