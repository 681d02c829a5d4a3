"""Calls of commands that no worker executes: from the command line, or by another job. Each is a run.

``begin`` creates the run, unless the overlap rule forbids it; ``Call.execute`` records it. ``JobCommand``
does this for itself, and ``record_plain_command`` does it for any other command, without a change of what it
prints and how it exits.

If the ledger cannot be written, that is reported on stderr and the command runs anyway.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TextIO, cast
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.utils import timezone

from jobledger import clock
from jobledger.conf import settings
from jobledger.escapes import escaped
from jobledger.jobs.declaration import Concurrency, JobDeclaration
from jobledger.jobs.options import OptionsError, check_bounds, from_namespace, given_on_command_line
from jobledger.jobs.registry import Job
from jobledger.models import Reason, Run, Status, Stream, Trigger, Why
from jobledger.runs import dispatch, overlap, reasons
from jobledger.runs.django_internals import wrapped_stream
from jobledger.runs.execution import abrupt_ends, runner
from jobledger.runs.execution.coroutines import awaited
from jobledger.runs.identity import command_line_process, operating_system_user
from jobledger.runs.lease import rescue
from jobledger.runs.lease.interrupts import JobInterrupt
from jobledger.runs.lease.watch import Watch, lease_duration
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.outcome import BAD_OPTIONS_EXIT_CODE
from jobledger.runs.output.capture import Capture, of_call, of_command_line
from jobledger.runs.output.recorder import OutputRecorder, UnsavedRecorder
from jobledger.runs.output.streams import Tee
from jobledger.runs.overlap import FREE, Guard, OverlapError
from jobledger.runs.unanswered import UnansweredError

OVERLAP_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a command."""

    command: BaseCommand
    job: str
    declaration: type[JobDeclaration]
    args: tuple[Any, ...]
    options: dict[str, Any]
    """The keyword arguments of ``execute``."""
    argv: list[str] | None
    """What was typed after the command's name; None if code has called it."""
    line_id: UUID | None = None
    """The run of a wrapped line of a crontab, which this call is to continue."""
    waits: bool = False
    """Whether it waits for a run that it must not overlap with."""
    may_overlap: bool = False

    def execute(self, run: Run | None, execute: Callable[..., str | None]) -> str | None:
        """Call ``execute``, and record what it writes and how it ends, if there is a run."""
        with ExitStack() as stack:
            if run is None:
                stack.enter_context(abrupt_ends.running(_nothing, by_other_thread=False))
            else:
                limit = settings.RUN_OUTPUT_LIMIT_BYTES
                # What a whole line of a crontab writes is saved by its own recorder.
                is_line = run.pk == self.line_id
                recorder = UnsavedRecorder(limit) if is_line else OutputRecorder(limit)
                # A process that was started for the command belongs to it.
                captured = of_call(recorder) if self.argv is None else of_command_line(recorder)
                stack.enter_context(_child_failures(run))
                stack.enter_context(runner.recorded(run, captured, taken_over=True))
                stack.enter_context(_recorded_streams(self, captured))
            # A plain command fails on the command line as it does without this service.
            is_ours = isinstance(self.command, JobDeclaration)
            stack.enter_context(awaited(self.command, rejects_results=is_ours))
            return execute(*self.args, **self.options)


def begin(call: Call) -> Run | None:
    """Create the run of a call. Raises CommandError if it must not start; None if there is no ledger."""
    try:
        with ledger_connection():
            runner.raise_if_interrupted()
        request = _request(call)
        guard = FREE if call.may_overlap else _guard(call, request)
        return _begin_when_free(call, request, guard)
    except CommandError:
        raise
    except Exception as error:  # noqa: BLE001 - reported on stderr; a ledger failure must not stop a job
        stderr = call.options.get("stderr") or call.command.stderr
        stderr.write(f"{_unless_unknown('This run is not recorded', error)}: {error}\n")
        return None


def _unless_unknown(text: str, error: Exception) -> str:
    """The text that says that a run is not recorded, unless the database has not answered whether it is."""
    return "It is unknown whether this run is recorded" if isinstance(error, UnansweredError) else text


def _request(call: Call) -> dispatch.RunRequest:
    given = _given(call)
    try:
        check_bounds(given)
    except OptionsError as error:
        raise CommandError(str(error), returncode=BAD_OPTIONS_EXIT_CODE) from error
    parent = runner.current_run()
    return dispatch.RunRequest(
        job=call.job,
        options=given,
        trigger=Trigger.JOB if parent else Trigger.CLI,
        username=parent.username if parent else operating_system_user(),
        user_id=parent.user_id if parent else None,
        # Children have their parent's time, even if they start after midnight.
        scheduled_for=parent.reference_time if parent else None,
        parent_id=parent.pk if parent else None,
    )


def _given(call: Call) -> dict[str, Any]:
    parser = call.command.create_parser("manage.py", call.job)
    values = {**call.options, "args": list(call.args)}
    if call.argv is None:
        return from_namespace(parser, values)
    return given_on_command_line(parser, call.argv, values)


def _guard(call: Call, request: dispatch.RunRequest) -> Guard:
    """Not guarded if the job calls itself: the outer run holds the key and waits for this one.

    Raises CommandError if nobody knows with which runs it must not overlap.
    """
    try:
        guard = overlap.declared_guard(request.job, call.declaration, request.options)
    except overlap.NoKeyError as error:
        raise CommandError(escaped(str(error))) from error
    return FREE if guard.key in runner.held_keys() else guard


def _begin_when_free(call: Call, request: dispatch.RunRequest, guard: Guard) -> Run:
    vigil = _Vigil(call, guard)
    while True:
        try:
            worker = command_line_process()
            return dispatch.begin(
                request,
                worker=worker,
                guard=guard,
                line_id=call.line_id,
                meanwhile=abrupt_ends.handle_deferred,
            )
        except OverlapError as error:
            if vigil.is_held_by_a_silent_run():
                vigil.keep()
            elif _is_backfilling():
                pass  # waits for its turn, whatever the policy
            elif guard.concurrency is Concurrency.REPLACE:
                _replace_holder(request, guard)
            elif not call.waits:
                raise _skipped(call, request, error.why) from error
        abrupt_ends.handle_deferred()
        # Often enough for the watch to count as one.
        time.sleep(min(OVERLAP_POLL_SECONDS, settings.LEASE_SECONDS / 10))


@ledger_connection()
def _is_backfilling() -> bool:
    """Whether the calling job is part of a backfill."""
    caller = runner.current_run()
    return caller is not None and overlap.is_backfilling(caller)


@ledger_connection()
def _replace_holder(request: dispatch.RunRequest, guard: Guard) -> None:
    """Cancel the run that holds the key, unless it is part of a backfill, which is to lose no slot."""
    holder = overlap.holder_of(guard.key)
    # None if it has just ended: the next attempt will succeed.
    if holder is not None and not overlap.is_backfilling(holder):
        why = Why.of(Reason.SUPERSEDED, user=request.username, trigger=request.trigger)
        overlap.request_cancel(holder, why, clock.now())


class _Vigil:
    """Watches the run that holds the key while it sends no heartbeats, and ends it after a whole lease.

    Usually, beat has done so long before. Without one, such as when only crontabs start the jobs, a run whose
    process was killed would keep its job from ever starting again.
    """

    def __init__(self, call: Call, guard: Guard) -> None:
        self._call, self._guard = call, guard
        self._watch: Watch | None = None

    @ledger_connection()
    def is_held_by_a_silent_run(self) -> bool:
        """Whether the holder's last heartbeat is older than a lease."""
        holder = overlap.holder_of(self._guard.key)
        if holder is None or not rescue.is_overdue(holder, clock.now()):
            return False
        if self._watch is None and holder.heartbeat_at is not None:
            # Nobody is known to have looked since then.
            self._watch = Watch(holder.heartbeat_at)
            self._announce(holder)
        return True

    @ledger_connection()
    def keep(self) -> None:
        """End the holder if it sent no heartbeat during a whole lease of this watch."""
        if self._watch is not None:
            rescue.rescue(clock.now(), self._watch)

    def _announce(self, holder: Run) -> None:
        stderr = self._call.options.get("stderr") or self._call.command.stderr
        seconds = lease_duration().total_seconds()
        text = f"Run {holder.pk} sends no heartbeats: it is lost unless it sends one within {seconds:g} s."
        stderr.write(f"{escaped(text)}\n")


def _skipped(call: Call, request: dispatch.RunRequest, why: Why) -> CommandError:
    """Record that the job does not run. If that fails, it does not run either: it would overlap."""
    note = ""
    try:
        run = dispatch.skip(request, why=why, exit_code=os.EX_TEMPFAIL, line_id=call.line_id)
    except Exception as error:  # noqa: BLE001 - reported to the user
        run = Run(job=request.job, status=Status.SKIPPED, **why.columns)
        note = f" {_unless_unknown('Not recorded', error)}: {error}"
    text = escaped(f"{reasons.sentence(run, timezone.now())}{note}")
    return CommandError(text, returncode=os.EX_TEMPFAIL)


def _nothing(end: SystemExit) -> None:
    """The run is not in the ledger."""


@contextmanager
def _child_failures(run: Run) -> Iterator[None]:
    """If only this run was to be ended, its parent's command sees an ordinary failure."""
    try:
        yield
    except JobInterrupt as interrupt:
        if run.trigger == Trigger.JOB and interrupt.run_id == run.pk:
            text = escaped(f"{run.job}: {interrupt}")
            raise CommandError(text, returncode=interrupt.exit_code) from interrupt
        raise


@contextmanager
def _recorded_streams(call: Call, captured: Capture) -> Iterator[None]:
    """Replace the command's stdout and stderr by streams that record everything."""
    command, options = call.command, call.options
    before = command.stdout, command.stderr
    for stream in Stream.STDOUT, Stream.STDERR:
        if options.get(stream):
            options[stream] = Tee(captured.recorder, stream, options[stream])
        else:
            setattr(command, stream, _recording(getattr(command, stream), captured, stream))
    try:
        yield
    finally:
        if not options.get("stderr"):
            before[1].style_func = command.stderr.style_func  # --no-color has removed it
        command.stdout, command.stderr = before


def _recording(replaced: OutputWrapper, captured: Capture, stream: Stream) -> OutputWrapper:
    # The underlying stream: its wrapper would style each line and add a line ending once more.
    recording = OutputWrapper(cast("TextIO", captured.stream_for(stream, wrapped_stream(replaced))))
    recording.style_func = replaced.style_func
    return recording


# From the command line


def record_plain_command(command: BaseCommand, job: Job, *, line_id: UUID | None = None) -> BaseCommand:
    """Let a command that is no ``JobCommand`` leave a run when it is called from the command line.

    It prints what it would print anyway, and exits in the same way. ``line_id`` is the run of a wrapped line
    of a crontab, which it is to continue.
    """
    run_from_argv, execute = command.run_from_argv, command.execute

    def run_recorded(argv: list[str]) -> None:
        def execute_recorded(*args: Any, **options: Any) -> str | None:
            del vars(command)["execute"]
            call = Call(
                command=command,
                job=job.name,
                declaration=job.declaration,
                args=args,
                options=options,
                argv=argv[2:],
                line_id=line_id,
            )
            with abrupt_ends.undivided():
                return call.execute(begin(call), execute)

        vars(command)["execute"] = execute_recorded
        with _same_exit(command), abrupt_ends.handled(abrupt_ends.record_and_die):
            run_from_argv(argv)

    vars(command)["run_from_argv"] = run_recorded
    return command


@contextmanager
def _same_exit(command: BaseCommand) -> Iterator[None]:
    """Only an interrupt by the service is new."""
    try:
        yield
    except JobInterrupt as interrupt:
        command.stderr.write(str(interrupt))
        sys.exit(interrupt.exit_code)
