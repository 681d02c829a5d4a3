"""What the two exports have in common: which schedules, and what is said about them on stderr."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from jobledger.exporting.schedules import Export, NotExpressibleError, Omission, exports
from jobledger.management import callers
from jobledger.management.operator_command import OperatorCommand

T = TypeVar("T")


def launcher() -> list[str]:
    """What calls a job."""
    return [sys.executable, str(callers.manage_py())]


def environment() -> dict[str, str]:
    """The variables that the jobs need to be called as from here."""
    module = callers.other_settings(callers.manage_py())
    return {"DJANGO_SETTINGS_MODULE": module} if module else {}


def all_exports(command: OperatorCommand) -> list[Export]:
    """The schedules that can be exported at all; the others are reported."""
    found = list(exports())
    for each in found:
        if isinstance(each, Omission):
            _report_omission(command, each.name, each.reason)
    return [each for each in found if isinstance(each, Export)]


def expressed(
    command: OperatorCommand, found: Sequence[Export], express: Callable[[Export], T]
) -> Iterator[tuple[Export, T]]:
    """Each export with what ``express`` makes of it. Those that it cannot express are reported."""
    for export in found:
        try:
            yield export, express(export)
        except NotExpressibleError as error:
            _report_omission(command, export.name, str(error))


def report_lost(command: OperatorCommand, name: str, what: Sequence[str]) -> None:
    """Say what of an exported schedule is lost."""
    if what:
        command.remark(f"“{name}” loses {', '.join(what)}")


def _report_omission(command: OperatorCommand, name: str, reason: str) -> None:
    command.warn(f"“{name}” is not exported: {reason}")
