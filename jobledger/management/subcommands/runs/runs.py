"""``jobledger runs``: lists runs, newest first."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobledger.management import arguments, printing, run_lines
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import DeadLetter, Run, Status
from jobledger.models.run import RunQuerySet
from jobledger.runs import run_json


class Command(OperatorCommand):
    """Prints a table on a terminal, tab-separated lines in a pipe, or JSON."""

    help = "List runs, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--job", metavar="NAME", help="Only runs of this job.")
        parser.add_argument("--status", choices=Status.values, help="Only runs with this status.")
        parser.add_argument(
            "--since",
            metavar="WHEN",
            help=f"Only runs queued since then: how long ago, {arguments.DURATION_HELP}, or a time, "
            "such as 2026-10-24T01:30.",
        )
        parser.add_argument(
            "--limit",
            type=arguments.count,
            default=20,
            help="The maximum number of runs. Default: %(default)s.",
        )
        parser.add_argument("--json", action="store_true", help="Print a JSON list of objects.")

    def handle(self, *args: Any, **options: Any) -> None:
        runs = _filtered(options).defer("traceback")[: options["limit"]]
        if options["json"]:
            lines = printing.json_lines(run_json.as_json(run) for run in runs.iterator())
        elif self.stdout.isatty():
            table = run_lines.table(runs)
            lines = run_lines.on_terminal(table, self.stdout, no_color=options["no_color"])
        else:
            lines = run_lines.listed(runs.iterator())
        if printing.write_lines(self.stdout, lines) and not (options["job"] or options["status"]):
            self._mention_dead_letters(options["since"])

    def _mention_dead_letters(self, since: str | None) -> None:
        """A message of a misspelt task has no run, but whoever looks for one should not search in vain."""
        earliest = timezone.now() - timedelta(days=1) if since is None else arguments.since(since, "--since")
        letters = DeadLetter.objects.filter(received_at__gte=earliest)
        if newest := letters.first():
            count = letters.count()
            messages = "a message" if count == 1 else f"{count} messages"
            self.remark(
                f"Not listed: {messages} that workers could not process (see `jobledger dead_letters`). "
                f"The newest is {newest.summary}"
            )


def _filtered(options: dict[str, Any]) -> RunQuerySet:
    runs = Run.objects.newest_first()
    if options["job"]:
        runs = runs.filter(job=arguments.job_of_runs(options["job"]))
    if options["status"]:
        runs = runs.filter(status=options["status"])
    if options["since"] is not None:
        runs = runs.filter(queued_at__gte=arguments.since(options["since"], "--since"))
    return runs
