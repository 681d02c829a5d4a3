"""``manage.py runs``: reads the ledger."""

import json
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks_app.jobs.defining import registry
from tasks_app.jobs.models import Run, Status

COLOURS = {
    Status.SUCCEEDED: "green",
    Status.RUNNING: "cyan",
    Status.FAILED: "red",
    Status.TIMED_OUT: "red",
    Status.LOST: "red",
    Status.MISSED: "yellow",
    Status.EXPIRED: "yellow",
}


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


class Command(BaseCommand):
    """A table on a terminal, tab-separated lines in a pipe, or JSON."""

    help = "List the runs, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Filters, and the form of the answer."""
        parser.add_argument("--job", metavar="NAME", help="Only this job's runs.")
        parser.add_argument("--status", choices=Status.values, help="Only runs in this state.")
        parser.add_argument(
            "--limit", type=positive, default=20, help="At most so many; default: %(default)s."
        )
        parser.add_argument("--json", action="store_true", help="A JSON list of objects.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the newest runs that pass the filters."""
        runs = self._runs(options)
        if options["json"]:
            self.stdout.write(json.dumps([run_as_json(run) for run in runs], indent=2))
        elif self.stdout.isatty():
            console = Console(file=cast("TextIO", self.stdout), no_color=options["no_color"])
            with console.capture() as capture:
                console.print(_table(runs))
            self.stdout.write(capture.get(), ending="")
        else:
            for run in runs:
                self.stdout.write("\t".join(_cells(run)))

    def _runs(self, options: dict[str, Any]) -> list[Run]:
        runs = Run.objects.newest_first()
        if options["job"]:
            runs = runs.filter(job=_job_name(options["job"]))
        if options["status"]:
            runs = runs.filter(status=options["status"])
        return list(runs[: options["limit"]])


def run_as_json(run: Run) -> dict[str, Any]:
    """A run as every JSON answer of the operator's commands shows it; moments in ISO 8601, UTC."""
    return {
        "id": str(run.pk),
        "job": run.job,
        "options": run.options,
        "trigger": run.trigger,
        "schedule": run.schedule_name or None,
        "scheduled_for": _iso(run.scheduled_for),
        "status": run.status,
        "attempt": run.attempt,
        "queued_at": _iso(run.queued_at),
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
        "exit_code": run.exit_code,
        "error": run.error or None,
    }


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if moment else None


def _job_name(name: str) -> str:
    """A job's or a task's name as the ledger has it: also of jobs that are gone."""
    try:
        return registry.find(name).name
    except registry.UnknownJobError as error:
        if Run.objects.filter(job=name).exists():
            return name
        raise CommandError(f"{error.args[0]} The ledger has no run of it either.") from error


def _cells(run: Run) -> list[str]:
    started = run.started_at or run.queued_at
    took = f"{(run.finished_at - started).total_seconds():.1f}s" if run.finished_at and run.started_at else ""
    when = f"{timezone.localtime(started):%Y-%m-%d %H:%M:%S %Z}"
    return [str(run.pk), run.job, run.status, run.trigger, when, took, run.error.partition("\n")[0]]


def _table(runs: list[Run]) -> Table:
    table = Table(
        "run", "job", "status", "trigger", "started", "took", "error", box=None, header_style="bold"
    )
    for run in runs:
        _, job, status, *rest = _cells(run)
        # Text, not markup: an error may hold square brackets.
        coloured = Text(status, style=COLOURS.get(Status(status), ""))
        table.add_row(str(run.pk)[:8], Text(job), coloured, *(Text(cell) for cell in rest))
    return table
