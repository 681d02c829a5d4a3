"""``jobledger call``: lets a worker run a job now, after everything about the call has been validated.

What follows the job's name belongs to the job; the options of ``call`` itself come before it.
"""

import os
import sys
import time
from argparse import PARSER, SUPPRESS, ArgumentParser
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from celery import current_app
from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from jobledger import brokers, clock
from jobledger.admin.runs import changes
from jobledger.conf import settings
from jobledger.escapes import escaped
from jobledger.jobs import registry
from jobledger.jobs.options import OptionsError, check_bounds, from_argv, options_for_worker
from jobledger.jobs.options.argparse_internals import Kind, actions_of, kind_of
from jobledger.jobs.options.argument_list import read
from jobledger.jobs.options.parser import options_of
from jobledger.jobs.registry import Job
from jobledger.management import printing
from jobledger.management.operator_command import OperatorCommand
from jobledger.management.subcommands.runs import show
from jobledger.models import ProcessKind, Run, ServiceProcess, Status, Trigger
from jobledger.runs import dispatch, overlap, reasons, run_json
from jobledger.runs.dispatch import RunRequest
from jobledger.runs.identity import operating_system_user
from jobledger.runs.ordinary_tasks import known_tasks
from jobledger.runs.outcome import BAD_OPTIONS_EXIT_CODE
from jobledger.runs.publishing import delivery
from jobledger.runs.service import queues
from jobledger.runs.service.code_version import code_version
from jobledger.runs.service.presence import present
from jobledger.schedules.audit import command_line_user

OWN_OPTIONS = ("--json", "--queue", "--wait")


class Command(OperatorCommand):
    """Prints only the run's id, for use in shell scripts; with ``--wait``, what the run writes."""

    help = (
        "Let a worker run a job now. The options are validated before anything is sent. Prints the run's id. "
        "Options of `call` come before the job's name, those of the job after it."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Without abbreviations of options, which would also be looked for among those of the job."""
        return super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--queue", metavar="NAME", help="The queue to send it to. Default: the job's own."
        )
        parser.add_argument(
            "--wait",
            action="store_true",
            help="Print the run's output, as it is written, until it ends; then exit with its exit code.",
        )
        parser.add_argument(
            "--json", action="store_true", help="Print a JSON object; with --wait, when the run has ended."
        )
        # As a subcommand, so that whatever follows is left as it is, also a "--".
        parser.add_argument(
            "job",
            nargs=PARSER,
            metavar="JOB",
            help="The name of the job or of its task, and its own options, as on its command line. After the "
            "name, --help prints them.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name, *arguments = options["job"][options["job"][:1] == ["--"] :]
        job = _job(name)
        try:
            parser = job.create_validating_parser()
            if _asks_for_help(parser, arguments):
                printing.write_lines(self.stdout, _help(job, parser).splitlines())
                return
            given = from_argv(parser, arguments)
            check_bounds(given)
            _check_encoding(arguments)
        except OptionsError as error:
            hint = _misplaced(arguments)
            raise CommandError(f"{job.name}: {error}{hint}", returncode=BAD_OPTIONS_EXIT_CODE) from error
        queue = _queue(job, options["queue"])
        run = _create(job, given, {"queue": options["queue"]} if options["queue"] else {})
        for dest, why in options_for_worker(parser, given).items():
            self.remark(f"{dest} could not be validated here: {why}. The worker will validate it.")
        self._report(run, queue, waits=options["wait"], as_json=options["json"])

    def _report(self, run: Run, queue: str | None, *, waits: bool, as_json: bool) -> None:
        """Print what became of the call so far or, if it waits, until the run ends; then exit."""
        if run.status == Status.QUEUED:
            self._warn_of_delay(run, queue)
        # A worker may have started it, or even have ended it, by now.
        if waits and run.status != Status.SKIPPED:
            sys.exit(self._wait(run, as_json=as_json))
        if as_json:
            printing.write_lines(self.stdout, [printing.json_text(run_json.as_json(run), indent=2)])
        else:
            self.say(str(run.pk))
        if Status(run.status).is_final and run.status != Status.SUCCEEDED:
            text = str(reasons.sentence(run, timezone.now()))
            raise CommandError(text, returncode=show.exit_code_of(run))

    def _warn_of_delay(self, run: Run, queue: str | None) -> None:
        if not run.publish_count:
            broker = brokers.name_of(current_app.conf.broker_url)
            self.warn(
                f"{broker} is not available. The run is recorded; beat will send it when {broker} is back."
            )
        if not queue:
            return
        readers = _readers(queue)
        if not readers:
            self.warn(f"No running worker reads the queue “{queue}”. The run stays queued until one does.")
        elif all(worker.version != code_version() for worker in readers):
            self.warn("The running workers have other code: restart them if the job is new or was changed.")

    def _wait(self, run: Run, *, as_json: bool) -> int:
        if not as_json:
            return show.print_until_end(self, run.pk)
        try:
            for update in show.follow(run.pk, partial(time.sleep, show.POLL_SECONDS)):
                run = update.run
            exit_code = show.exit_code_of(run)
        except KeyboardInterrupt:
            exit_code = show.stopped(self)
        printing.write_lines(self.stdout, [printing.json_text(run_json.as_json(run), indent=2)])
        return exit_code


def _job(name: str) -> Job:
    try:
        return registry.find(name)
    except registry.UnknownJobError as error:
        if name in known_tasks():
            text = f"{name!r} is an ordinary Celery task, not a job: `celery call` sends it."
            raise CommandError(text) from error
        raise CommandError(str(error.args[0])) from error


def _check_encoding(arguments: Sequence[str]) -> None:
    """What a terminal of another encoding sends would be stored, and reach the job, as something else."""
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise OptionsError("its options are not valid UTF-8") from None


def _asks_for_help(parser: ArgumentParser, arguments: Sequence[str]) -> bool:
    try:
        occurrences = read(parser, arguments)
    except OptionsError:
        return False
    return any(kind_of(each.action) is Kind.EXIT and each.action.dest == "help" for each in occurrences)


def _misplaced(arguments: Sequence[str]) -> str:
    """A hint if there are options of ``call`` among those of the job, which are not valid."""
    found = sorted({word.partition("=")[0] for word in arguments}.intersection(OWN_OPTIONS))
    return f". Options of `call` come before the job's name: {' '.join(found)}" if found else ""


def _help(job: Job, parser: ArgumentParser) -> str:
    """The job's help, without the options that it cannot be given here."""
    own = [action for option in options_of(parser).values() for action in option.actions]
    for action in actions_of(parser):
        if action not in own:
            action.help = SUPPRESS
    parser.prog = f"manage.py jobledger call [--queue NAME] [--wait] [--json] {job.name}"
    return parser.format_help()


def _queue(job: Job, given: str | None) -> str | None:
    """The name of the queue that the run will be sent to, if it is known. Raises CommandError."""
    if given is not None and (not given or (problem := delivery.problem_with_name(given))):
        raise CommandError(f"--queue: {given!r} cannot be used: {problem if given else 'it is empty'}")
    queue = queues.queue_of(job.name, given)
    if given and queue is None:
        raise CommandError(f"--queue: this project has no queue {given!r} (CELERY_TASK_QUEUES)")
    return queue


def _create(job: Job, given: dict[str, Any], routing: dict[str, Any]) -> Run:
    """The new run: queued and, unless the broker is down, sent; or skipped, by the job's overlap rule."""
    request = RunRequest(
        job=job.name,
        options=given,
        trigger=Trigger.CELERY,
        username=operating_system_user(),
        routing=routing,
    )
    try:
        guard = overlap.declared_guard(job.name, job.declaration, given)
    except overlap.NoKeyError as error:
        raise CommandError(escaped(str(error))) from error
    if (why := overlap.why_not_now(guard)) is not None:
        return dispatch.skip(request, why=why, exit_code=os.EX_TEMPFAIL)

    @transaction.atomic
    def start(run_id: UUID) -> Run:
        run = dispatch.enqueue(request, run_id=run_id)
        changes.log_started(command_line_user(), run, job, given)
        return run

    run = dispatch.certainly(start, within_seconds=settings.LEASE_SECONDS)
    run.refresh_from_db()
    return run


def _readers(queue: str) -> list[ServiceProcess]:
    workers = present(ProcessKind.WORKER, clock.now()).exclude(capacity=0)
    # Workers of an earlier version do not report what they read.
    return [worker for worker in workers if queue in worker.queues or worker.capacity is None]
