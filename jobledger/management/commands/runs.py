"""``manage.py runs``: reads the ledger, and shows, follows, cancels or retries one run."""

import json
import sys
import time
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.utils import timezone

from jobledger.jobs import registry
from jobledger.management import live_output, moments, printing, run_ids, run_json, run_lines
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Run, Status, Stream, Trigger
from jobledger.models.run import RunQuerySet
from jobledger.runs import dispatch, overlap
from jobledger.runs.outcome import INTERRUPTED_EXIT_CODE
from jobledger.runs.worker.process import operating_system_user

LONGEST_NUMBER = 9


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1, and one that a database can count to."""
    if not text.isdecimal() or len(text) > LONGEST_NUMBER or int(text) < 1:
        most = "9" * LONGEST_NUMBER
        raise ArgumentTypeError(f"{text[:50]!r} is not a whole number from 1 to {most}")
    return int(text)


class Command(OperatorCommand):
    """A table on a terminal, plain lines in a pipe, or JSON."""

    help = "List the runs, newest first; or show, cancel or retry one of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The list's filters, and what can be done with one run."""
        _add_filters(parser)
        actions = parser.add_subparsers(dest="action", metavar="{show,cancel,retry}")
        show = actions.add_parser("show", help="Show one run, its earlier attempts and its output.")
        form = show.add_mutually_exclusive_group()
        form.add_argument(
            "--follow",
            action="store_true",
            help="Print only its output, as it comes, until it ends; exit with its exit code.",
        )
        # No default of its own: that would take back a --json before the word "show".
        form.add_argument("--json", action="store_true", default=SUPPRESS, help="A JSON object.")
        cancel = actions.add_parser("cancel", help="End a queued or running run.")
        cancel.add_argument("--reason", default="", help="Kept with the run.")
        retry = actions.add_parser("retry", help="Start a new run that does the same; prints its id.")
        for action in show, cancel, retry:
            action.add_argument("id", help=run_ids.HELP)

    def handle(self, *args: Any, **options: Any) -> None:
        """List, or do what is asked with one run."""
        match options["action"]:
            case "show" if options["follow"]:
                self._follow(run_ids.find(options["id"]).pk)
            case "show":
                self._show(run_ids.find(options["id"]), options)
            case "cancel":
                self.stdout.write(_cancel(run_ids.find(options["id"]), options["reason"]))
            case "retry":
                self.stdout.write(str(_retry(run_ids.find(options["id"])).pk))
            case _:
                self._list(options)

    def _list(self, options: dict[str, Any]) -> None:
        runs = _filtered(options).defer("traceback")[: options["limit"]]
        if options["json"]:
            lines = printing.json_lines(run_json.as_json(run) for run in runs.iterator())
        elif self.stdout.isatty():
            table = run_lines.table(runs)
            lines = run_lines.on_terminal(table, self.stdout, no_color=options["no_color"])
        else:
            lines = run_lines.listed(runs.iterator())
        printing.write_lines(self.stdout, lines)

    def _show(self, run: Run, options: dict[str, Any]) -> None:
        if options["json"]:
            lines = [json.dumps(run_json.in_full(run), indent=2, ensure_ascii=False)]
            printing.write_lines(self.stdout, lines)
            return
        is_terminal = self.stdout.isatty()
        fields = run_lines.fields(run)
        if is_terminal:
            grid = run_lines.fields_table(run)
            fields = run_lines.on_terminal(grid, self.stdout, no_color=options["no_color"])
        output = run_lines.output(run, styled=self.style.ERROR if is_terminal else str)
        printing.write_lines(self.stdout, chain(fields, output))

    def _follow(self, run_id: UUID) -> None:
        """Print its output to where it was written to, and end as it ends; Ctrl-C ends but the following."""
        # The output has its own ends of lines, and a piece need not have one.
        self.stdout.ending = self.stderr.ending = ""
        streams = {Stream.STDOUT: self.stdout, Stream.STDERR: self.stderr}
        exit_code = 0
        try:
            for news in live_output.follow(run_id, partial(time.sleep, live_output.POLL_SECONDS)):
                for piece in news.pieces:
                    if not printing.write_lines(streams[piece.stream], [piece.text]):
                        return
                exit_code = live_output.exit_code_of(news.run)
        except KeyboardInterrupt:
            printing.write_lines(self.stderr, ["No longer followed; the run goes on.\n"])
            exit_code = INTERRUPTED_EXIT_CODE
        if exit_code:
            sys.exit(exit_code)


def _add_filters(parser: ArgumentParser) -> None:
    parser.add_argument("--job", metavar="NAME", help="Only this job's runs.")
    parser.add_argument("--status", choices=Status.values, help="Only runs in this state.")
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help=f"Only runs queued since then: how long ago, {moments.DURATION_HELP}, or a moment, "
        "such as 2026-10-24T01:30.",
    )
    parser.add_argument("--limit", type=positive, default=20, help="At most so many; default: %(default)s.")
    parser.add_argument("--json", action="store_true", help="A JSON list of objects.")


def _filtered(options: dict[str, Any]) -> RunQuerySet:
    runs = Run.objects.newest_first()
    if options["job"]:
        runs = runs.filter(job=_job_name(options["job"]))
    if options["status"]:
        runs = runs.filter(status=options["status"])
    if options["since"] is not None:
        runs = runs.filter(queued_at__gte=_since(options["since"]))
    return runs


def _since(text: str) -> datetime:
    """A length of time ends with its unit, and no moment ends so."""
    if text.endswith(("w", "d", "h", "m", "s")):
        return timezone.now() - moments.duration(text, "--since")
    return moments.moment(text, "--since", timezone.get_default_timezone())


def _job_name(name: str) -> str:
    """A job's or a task's name as the ledger has it: also of jobs that are gone."""
    try:
        return registry.find(name).name
    except registry.UnknownJobError as error:
        if Run.objects.filter(job=name).exists():
            return name
        raise CommandError(f"{error.args[0]} The ledger has no run of it either.") from error


def _cancel(run: Run, reason: str) -> str:
    """Ask for the run's end; what has come of it."""
    user = operating_system_user()
    asked_by = f"{user} ({reason})" if reason else user
    longest = Run._meta.get_field("cancelled_by").max_length or 0
    if len(asked_by) > longest:
        raise CommandError(f"--reason: it is longer than {longest - len(user) - len(' ()')} characters")
    is_asked = overlap.request_cancel(run, asked_by, timezone.now())
    run.refresh_from_db()
    if is_asked and run.status == Status.CANCELLED:
        return f"Run {run.pk} is cancelled."
    if run.status == Status.RUNNING and run.cancel_requested_at:
        asked = "was asked" if is_asked else f"was already asked by {run.cancelled_by}"
        return f"Run {run.pk} {asked} to end; it does within a few seconds."
    if Status(run.status).is_final:
        raise CommandError(f"Run {run.pk} is over: {run.get_status_display()}")
    raise CommandError(f"Run {run.pk} has just started or begun again; try again")


def _retry(run: Run) -> Run:
    try:
        return dispatch.start_again(run, trigger=Trigger.CLI, who=operating_system_user())
    except dispatch.NotStartedAgainError as error:
        raise CommandError(str(error)) from error
