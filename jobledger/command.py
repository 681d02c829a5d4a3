"""``JobCommand``: the base class of jobs. A management command whose every execution is recorded as a run.

For authors it is an ordinary Django command: ``add_arguments``, ``handle``, ``self.stdout``, ``self.style``,
``CommandError`` and its ``returncode``, and ``call_command`` in tests all work as Django documents them. In
addition, ``self.run`` is the row in the ledger, and ``self.scheduled_for`` is the slot that the run is for.

On the command line it prints and exits as it would without the service. If the ledger cannot be written, it
reports that on stderr and runs anyway: the job matters more than its record.

What executes jobs is imported when one is executed: beat and the web server import all jobs and execute none.
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, TypeVar

from django.core.management.base import BaseCommand, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone

from jobledger.jobs.declaration import Concurrency, JobDeclaration, Schedule
from jobledger.jobs.options import base_parser
from jobledger.jobs.options.parser import OVERLAP_OPTIONS
from jobledger.models import Run, Trigger

__all__ = ["Concurrency", "JobCommand", "Schedule"]

T = TypeVar("T")


class JobCommand(JobDeclaration, BaseCommand):
    """A management command that can be scheduled and called by Celery, and that always records its runs."""

    requires_migrations_checks = True
    requires_system_checks: list[str] | tuple[str, ...] | Literal["__all__"] = ()
    """Tags of the system checks that come first on the command line: none, as in a worker."""

    run: Run | None = None
    """The run that records this execution; None if the ledger could not be written."""

    _began_at: datetime
    _called_as = ""
    """The name it was called by. A module can also import the class of another one's command."""
    _argv: list[str] | None = None
    """What was typed after the name, if it is called from the command line."""

    @property
    def scheduled_for(self) -> datetime:
        """The slot, aware and in UTC; without a slot, the time at which the run started.

        A job that processes "yesterday" should count from here, so that a late or repeated run still
        processes the same day.
        """
        return self.run.reference_time if self.run else self._began_at

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Add the overlap options, which every job has on the command line."""
        self._called_as = subcommand
        is_on_command_line = self._argv is not None
        if kwargs or is_on_command_line or not base_parser.is_usual(super().create_parser):
            # Otherwise, argparse looks up the terminal's size for each argument that is added.
            kwargs.setdefault("formatter_class", base_parser.formatter_class())
            parser = super().create_parser(prog_name, subcommand, **kwargs)
        else:
            parser = base_parser.made_for(self, prog_name, subcommand)
            self.add_arguments(parser)
        base_parser.add_own_arguments(parser, skip_checks=not self.requires_system_checks)
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """When interrupted, print a single line and exit with the interrupt's exit code."""
        from jobledger.runs.execution import abrupt_ends
        from jobledger.runs.lease.interrupts import JobInterrupt
        from jobledger.runs.outcome import INTERRUPTED_EXIT_CODE

        self._argv = argv[2:]
        try:
            with abrupt_ends.handled(abrupt_ends.raise_exit):
                super().run_from_argv(argv)
        except JobInterrupt as interrupt:
            self.stderr.write(str(interrupt))
            sys.exit(interrupt.exit_code)
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            sys.exit(INTERRUPTED_EXIT_CODE)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Execute as Django does, recorded in the run that the worker has claimed, or in a new one."""
        from jobledger.runs.execution import runner

        self._began_at = timezone.now()
        waits, may_overlap = (bool(options.pop(dest, False)) for dest in OVERLAP_OPTIONS)
        self.run = runner.take_over(self)
        if self.run is not None:
            return super().execute(*args, **options)  # the runner awaits it
        return self._execute_as_new_run(args, options, waits=waits, may_overlap=may_overlap)

    def _execute_as_new_run(
        self, args: tuple[Any, ...], options: dict[str, Any], *, waits: bool, may_overlap: bool
    ) -> str | None:
        from jobledger.runs.execution import abrupt_ends, calls
        from jobledger.runs.execution.calls import Call
        from jobledger.wrap.continuing import continued_run

        argv, self._argv = self._argv, None
        name = self._called_as or type(self).__module__.rpartition(".")[2]
        call = Call(
            command=self,
            job=name,
            declaration=type(self),
            args=args,
            options=options,
            argv=argv,
            line_id=None if argv is None else continued_run(name),
            waits=waits,
            may_overlap=may_overlap,
        )
        with abrupt_ends.undivided():
            self.run = calls.begin(call)
            return call.execute(self.run, super().execute)

    def progress(
        self, iterable: Iterable[T], *, total: int | None = None, description: str = ""
    ) -> Iterator[T]:
        """Yield the items, recording progress on the run and, on a terminal, displaying a progress bar.

        ``total`` is only needed for iterables without a length.
        """
        from jobledger.runs.execution import progress

        return progress.track(iterable, total=total, description=description, stream=self.stderr)

    def check_migrations(self) -> None:
        """Warn of unapplied migrations, but only on the command line: a worker would do so for every run.

        If the database is unavailable, run the job anyway: it may not need one.
        """
        if self.run is not None and self.run.trigger not in (Trigger.CLI, Trigger.CRON):
            return
        from jobledger.runs.ledger_connection import left_as_found

        try:
            # Otherwise the job's connection would be open, and idle, before the job needs it.
            with left_as_found(connections[DEFAULT_DB_ALIAS]):
                super().check_migrations()
        except Exception as error:  # noqa: BLE001 - reported on stderr; the job continues
            self.stderr.write(f"The migrations could not be checked: {error}")
