"""``JobCommand``: what authors subclass. A management command whose every execution leaves a run.

To its author it is a plain Django command: ``add_arguments``, ``handle``, ``self.stdout``,
``self.style``, ``CommandError`` and its ``returncode``, and ``call_command`` in tests all behave as
Django documents. Beyond that, ``self.run`` is the row in the ledger and ``self.scheduled_for`` the
slot that the run stands for.

By hand it prints as ever and exits with the same code. When the ledger cannot be written it says so on
stderr and runs all the same: the job matters more than its record.
"""

import os
import socket
from datetime import datetime
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand, OutputWrapper
from django.utils import timezone

from tasks_app.jobs.defining import arguments
from tasks_app.jobs.defining.declaration import Concurrency, JobDeclaration, Schedule
from tasks_app.jobs.models import Run, Stream, Trigger
from tasks_app.jobs.running import dispatch, output, runner
from tasks_app.jobs.running.process import operating_system_user

__all__ = ["Concurrency", "JobCommand", "Schedule"]


class JobCommand(JobDeclaration, BaseCommand):
    """A management command that is a job: schedulable, callable by Celery, on record however started."""

    requires_migrations_checks = True

    run: Run | None = None
    """The run that this execution is recorded as; None when the ledger could not be written."""

    _began_at: datetime

    @property
    def scheduled_for(self) -> datetime:
        """The slot, aware and in UTC; the moment of starting when there is no slot.

        A job that works on "yesterday" counts from here, so that a run which started late, or again,
        still means the same day.
        """
        return self.run.moment if self.run else self._began_at

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Execute as Django does, recorded as a run: the claimed one, or a new one."""
        self._began_at = timezone.now()
        self.run = runner.take_over(self._job_name)
        if self.run is not None:
            return super().execute(*args, **options)
        self.run = self._begin(options)
        if self.run is None:
            return super().execute(*args, **options)
        return self._execute_recorded(self.run, args, options)

    def check_migrations(self) -> None:
        """Warn of unapplied migrations, as Django does, but only by hand: a worker would warn at every run.

        A database that does not answer is the job's own affair: it may not need one.
        """
        if self.run is not None and self.run.trigger != Trigger.CLI:
            return
        try:
            super().check_migrations()
        except Exception as error:  # noqa: BLE001 - said on stderr; the job goes on
            self.stderr.write(f"The migrations could not be checked: {error}")

    @property
    def _job_name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    def _begin(self, options: dict[str, Any]) -> Run | None:
        try:
            return dispatch.begin(self._request(options), worker=_this_process())
        except Exception as error:  # noqa: BLE001 - said on stderr; no fault of the ledger keeps a job from running
            stderr = options.get("stderr") or self.stderr
            stderr.write(f"This run is not recorded: {error}\n")
            return None

    def _request(self, options: dict[str, Any]) -> dispatch.RunRequest:
        parser = self.create_parser("manage.py", self._job_name)
        parent = runner.current_run()
        return dispatch.RunRequest(
            job=self._job_name,
            options=arguments.from_namespace(parser, options),
            trigger=Trigger.JOB if parent else Trigger.CLI,
            who=parent.who if parent else operating_system_user(),
            user_id=parent.user_id if parent else None,
            # Children stand for one moment, their parent's, also when midnight comes between them.
            scheduled_for=parent.moment if parent else None,
            parent_id=parent.pk if parent else None,
        )

    def _execute_recorded(self, run: Run, args: tuple[Any, ...], options: dict[str, Any]) -> str | None:
        recorder = runner.new_recorder()
        before = self.stdout, self.stderr
        self._record_streams(recorder, options)
        try:
            with runner.recorded(run, recorder, taken_over=True):
                return super().execute(*args, **options)
        finally:
            self.stdout, self.stderr = before

    def _record_streams(self, recorder: output.OutputRecorder, options: dict[str, Any]) -> None:
        """Put a recording stream in place of each of the two, which passes everything on to it."""
        for stream in Stream.STDOUT, Stream.STDERR:
            if options.get(stream):
                options[stream] = output.Tee(recorder, stream, options[stream])
                continue
            replaced: OutputWrapper = getattr(self, stream)
            # The stream itself, not its wrapper, which would style and end every line a second time.
            tee = output.Tee(recorder, stream, cast("TextIO", replaced._out))
            recording = OutputWrapper(cast("TextIO", tee))
            recording.style_func = replaced.style_func
            setattr(self, stream, recording)


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
