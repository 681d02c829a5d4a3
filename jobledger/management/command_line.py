"""Does what Django's ``execute_from_command_line`` does, with exposed commands on record.

``JobCommand`` records itself; a plain command cannot. Nothing else is different.
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType, TracebackType

from django.core import management
from django.core.management import ManagementUtility
from django.core.management.base import BaseCommand

from jobledger.outages import with_causes


def execute(argv: Sequence[str] | None) -> None:
    """Execute the command in ``argv``, or in ``sys.argv``."""
    # What is loaded first is no garbage: looking through it, also at the end, takes a third of a small
    # command's time.
    gc.disable()
    try:
        with _tracebacks_without_own_lines():
            _execute_as_django(argv)
    finally:
        gc.enable()


class _Utility(ManagementUtility):
    def fetch_command(self, subcommand: str) -> BaseCommand:
        """The command, which records itself if it is exposed."""
        command = super().fetch_command(subcommand)
        gc.freeze()
        gc.enable()
        try:
            return _recorded(command, subcommand)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the service, the command must run
            sys.stderr.write(f"This run is not recorded: {error}\n")
            return command


def _recorded(command: BaseCommand, name: str) -> BaseCommand:
    # Imported once Django's apps are loaded.
    from django.apps import apps

    from jobledger.jobs import registry

    if not (apps.ready and name in registry.exposed_commands()):
        return command
    from jobledger.jobs.declaration import JobDeclaration
    from jobledger.runs.execution.calls import record_plain_command
    from jobledger.wrap.continuing import continued_run

    job = registry.all_jobs().get(name)
    if job is None or isinstance(command, JobDeclaration):
        return command
    return record_plain_command(command, job, line_id=continued_run(name))


# Django's own function, which has no parameter for the utility: a traceback shows its line, as without us.
_execute_as_django = FunctionType(
    management.execute_from_command_line.__code__,
    {**vars(management), "ManagementUtility": _Utility},
    argdefs=management.execute_from_command_line.__defaults__,
)


@contextmanager
def _tracebacks_without_own_lines() -> Iterator[None]:
    """If the block raises, and nobody catches that, Python prints what it would print without us."""
    hook = sys.excepthook

    def print_without_own_lines(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _remove_own_lines(error)
        hook(kind, error, error.__traceback__)

    sys.excepthook = print_without_own_lines
    yield
    if sys.excepthook is print_without_own_lines:
        sys.excepthook = hook


def _remove_own_lines(error: BaseException) -> None:
    """From the traceback of this error and of those before it, unless the error is our own."""
    for each in with_causes(error):
        lines = list(_lines_of(each.__traceback__))
        if lines and (_passes_on(lines[-1]) or not _is_own(lines[-1])):
            each.__traceback__ = _chained([line for line in lines if not _is_own(line)])


def _lines_of(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _chained(lines: list[TracebackType]) -> TracebackType | None:
    following: TracebackType | None = None
    for line in reversed(lines):
        line.tb_next = following
        following = line
    return following


def _passes_on(line: TracebackType) -> bool:
    """Whether the line passes output on to another stream, which may be a closed pipe, or a full disk."""
    return line.tb_frame.f_globals.get("__name__") == "jobledger.runs.output.streams"


def _is_own(line: TracebackType) -> bool:
    return str(line.tb_frame.f_globals.get("__name__")).startswith("jobledger.")
