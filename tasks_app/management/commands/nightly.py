"""Runs several jobs, one after another, each recorded as a child run."""

from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser

from jobledger import JobCommand, Schedule

JOBS = ("cleanup_tokens", "compute_daily_stats", "normalize_emails")


class Command(JobCommand):
    help = (
        f"Runs {', '.join(JOBS)}, one after another. If one fails, the others still run; "
        "nightly then fails and names it."
    )
    time_limit = timedelta(hours=2)
    schedules = (Schedule("0 3 * * *"),)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fail-fast", action="store_true", help="Stop at the first job that fails.")

    def handle(self, *args: Any, fail_fast: bool, **options: Any) -> None:
        """Run the jobs. Raises CommandError, which names those that failed."""
        forwarded = {name: options[name] for name in ("verbosity", "no_color", "force_color")}
        errors: dict[str, BaseException] = {}
        for job in JOBS:
            if error := self._error_of(job, forwarded):
                errors[job] = error
                if fail_fast:
                    break
        if errors:
            raise CommandError(f"Failed: {', '.join(errors)}.") from BaseExceptionGroup(
                "the jobs' errors", list(errors.values())
            )

    def _error_of(self, job: str, forwarded: dict[str, Any]) -> BaseException | None:
        """Run the job; returns its error, which is also printed, or None if it succeeded."""
        try:
            call_command(job, stdout=self.stdout, stderr=self.stderr, **forwarded)
        except Exception as error:  # noqa: BLE001 - the other jobs must still run
            failure: BaseException = error
        except SystemExit as error:
            if not error.code:
                return None
            failure = error
        else:
            return None
        self.stderr.write(f"{job} failed: {failure}")
        return failure
