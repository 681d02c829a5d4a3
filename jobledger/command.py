"""``JobCommand``: the base class of jobs. A management command whose every execution is recorded as a run.

For authors it is an ordinary Django command: ``add_arguments``, ``handle``, ``self.stdout``, ``self.style``,
``CommandError`` and its ``returncode``, and ``call_command`` in tests all work as Django documents them. In
addition, ``self.run`` is the row in the ledger, and ``self.scheduled_for`` is the slot that the run is for.

On the command line it prints and exits as it would without the service. If the ledger cannot be written, it
reports that on stderr and runs anyway: the job matters more than its record.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from types import FrameType
from typing import Any, TextIO, TypeVar, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone

from jobledger.escapes import escaped
from jobledger.jobs.declaration import Concurrency, JobDeclaration, Schedule
from jobledger.jobs.options import OptionsError, check_bounds, from_namespace, given_on_command_line
from jobledger.jobs.options.parser import option_strings
from jobledger.models import Reason, Run, Stream, Trigger, Why
from jobledger.runs import dispatch, overlap, reasons
from jobledger.runs.dispatch import command_line_process, operating_system_user
from jobledger.runs.execution import output, progress, runner
from jobledger.runs.execution.django_internals import wrapped_stream
from jobledger.runs.lease.interrupts import JobInterrupt
from jobledger.runs.ledger_connection import ledger_connection, left_as_found
from jobledger.runs.outcome import BAD_OPTIONS_EXIT_CODE, INTERRUPTED_EXIT_CODE, SignalExit
from jobledger.runs.overlap import FREE, Guard, OverlapError

__all__ = ["Concurrency", "JobCommand", "Schedule"]

T = TypeVar("T")

OVERLAP_POLL_SECONDS = 0.5


class JobCommand(JobDeclaration, BaseCommand):
    """A management command that can be scheduled and called by Celery, and that always records its runs."""

    requires_migrations_checks = True

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
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        _add_overlap_arguments(parser)
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """When interrupted, print a single line and exit with the interrupt's exit code."""
        signal.signal(signal.SIGTERM, _exit_on_sigterm)
        self._argv = argv[2:]
        try:
            super().run_from_argv(argv)
        except JobInterrupt as interrupt:
            self.stderr.write(str(interrupt))
            sys.exit(interrupt.exit_code)
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            sys.exit(INTERRUPTED_EXIT_CODE)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Execute as Django does, recorded in the run that the worker has claimed, or in a new one."""
        self._began_at = timezone.now()
        wait, allow_overlap = options.pop("wait_for_overlap", False), options.pop("allow_overlap", False)
        self.run = runner.take_over(self)
        if self.run is not None:
            return super().execute(*args, **options)
        self.run = self._begin(args, options, wait=wait, allow_overlap=allow_overlap)
        if self.run is None:
            return super().execute(*args, **options)
        return self._execute_recorded(self.run, args, options)

    def progress(
        self, iterable: Iterable[T], *, total: int | None = None, description: str = ""
    ) -> Iterator[T]:
        """Yield the items, recording progress on the run and, on a terminal, displaying a progress bar.

        ``total`` is only needed for iterables without a length.
        """
        return progress.track(iterable, total=total, description=description, stream=self.stderr)

    def check_migrations(self) -> None:
        """Warn of unapplied migrations, but only on the command line: a worker would do so for every run.

        If the database is unavailable, run the job anyway: it may not need one.
        """
        if self.run is not None and self.run.trigger != Trigger.CLI:
            return
        try:
            # Otherwise the job's connection would be open, and idle, before the job needs it.
            with left_as_found(connections[DEFAULT_DB_ALIAS]):
                super().check_migrations()
        except Exception as error:  # noqa: BLE001 - reported on stderr; the job continues
            self.stderr.write(f"The migrations could not be checked: {error}")

    @property
    def _job_name(self) -> str:
        return self._called_as or type(self).__module__.rpartition(".")[2]

    def _begin(
        self, args: tuple[Any, ...], options: dict[str, Any], *, wait: bool, allow_overlap: bool
    ) -> Run | None:
        try:
            with ledger_connection():
                runner.raise_if_interrupted()
            request = self._request(self._given({**options, "args": list(args)}))
            guard = FREE if allow_overlap else self._guard(request)
            return self._begin_when_free(request, guard, wait=wait)
        except CommandError:
            raise
        except Exception as error:  # noqa: BLE001 - reported on stderr; a ledger failure must not stop a job
            stderr = options.get("stderr") or self.stderr
            stderr.write(f"This run is not recorded: {error}\n")
            return None

    def _guard(self, request: dispatch.RunRequest) -> Guard:
        """Not guarded if the job calls itself: the outer run holds the key and waits for this one."""
        guard = overlap.declared_guard(request.job, type(self), request.options)
        return FREE if guard.key in runner.held_keys() else guard

    def _begin_when_free(self, request: dispatch.RunRequest, guard: Guard, *, wait: bool) -> Run:
        while True:
            try:
                return dispatch.begin(request, worker=command_line_process(), guard=guard)
            except OverlapError as error:
                if guard.concurrency is Concurrency.REPLACE:
                    # None if it has just ended: the next attempt will succeed.
                    why = Why.of(Reason.SUPERSEDED, user=request.username, trigger=request.trigger)
                    with ledger_connection():
                        if holder := overlap.holder_of(guard.key):
                            overlap.request_cancel(holder, why, timezone.now())
                elif not wait:
                    run = dispatch.skip(request, why=error.why, exit_code=os.EX_TEMPFAIL)
                    sentence = reasons.sentence(run, timezone.now())
                    raise CommandError(escaped(str(sentence)), returncode=os.EX_TEMPFAIL) from error
            time.sleep(OVERLAP_POLL_SECONDS)

    def _given(self, values: dict[str, Any]) -> dict[str, Any]:
        argv, self._argv = self._argv, None
        parser = self.create_parser("manage.py", self._job_name)
        return from_namespace(parser, values) if argv is None else given_on_command_line(parser, argv, values)

    def _request(self, given: dict[str, Any]) -> dispatch.RunRequest:
        try:
            check_bounds(given)
        except OptionsError as error:
            raise CommandError(str(error), returncode=BAD_OPTIONS_EXIT_CODE) from error
        parent = runner.current_run()
        return dispatch.RunRequest(
            job=self._job_name,
            options=given,
            trigger=Trigger.JOB if parent else Trigger.CLI,
            username=parent.username if parent else operating_system_user(),
            user_id=parent.user_id if parent else None,
            # Children have their parent's time, even if they start after midnight.
            scheduled_for=parent.reference_time if parent else None,
            parent_id=parent.pk if parent else None,
        )

    def _execute_recorded(self, run: Run, args: tuple[Any, ...], options: dict[str, Any]) -> str | None:
        recorder = runner.new_recorder()
        before = self.stdout, self.stderr
        self._record_streams(recorder, options)
        try:
            with runner.recorded(run, recorder, taken_over=True):
                return super().execute(*args, **options)
        except JobInterrupt as interrupt:
            if run.trigger == Trigger.JOB and interrupt.run_id == run.pk:
                # Only the child was to be ended: for its parent this is an ordinary failure.
                text = escaped(f"{run.job}: {interrupt}")
                raise CommandError(text, returncode=interrupt.exit_code) from interrupt
            raise
        finally:
            if not options.get("stderr"):
                before[1].style_func = self.stderr.style_func  # --no-color has removed it
            self.stdout, self.stderr = before

    def _record_streams(self, recorder: output.OutputRecorder, options: dict[str, Any]) -> None:
        """Replace stdout and stderr by streams that record everything and pass it on."""
        for stream in Stream.STDOUT, Stream.STDERR:
            if options.get(stream):
                options[stream] = output.Tee(recorder, stream, options[stream])
                continue
            replaced: OutputWrapper = getattr(self, stream)
            # The underlying stream: its wrapper would style each line and add a line ending once more.
            tee = output.Tee(recorder, stream, cast("TextIO", wrapped_stream(replaced)))
            recording = OutputWrapper(cast("TextIO", tee))
            recording.style_func = replaced.style_func
            setattr(self, stream, recording)


def _add_overlap_arguments(parser: CommandParser) -> None:
    """Skip flags that the job itself defines."""
    flags = {
        "--wait": ("wait_for_overlap", "If the job is already running, wait until it has finished."),
        "--allow-overlap": ("allow_overlap", "Run even if the job is already running."),
    }
    for flag, (dest, text) in flags.items():
        if flag not in option_strings(parser):
            parser.add_argument(flag, dest=dest, action="store_true", help=text)


def _exit_on_sigterm(signum: int, frame: FrameType | None) -> None:
    """Raise an exception, so that ``finally`` blocks run and the ledger is updated."""
    raise SignalExit(signum)
