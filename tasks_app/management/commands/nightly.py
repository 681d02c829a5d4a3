"""The night's work: one job after the other, each a run of its own below this one."""

from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser

from jobledger import JobCommand, Schedule

JOBS = ("cleanup_tokens", "compute_daily_stats", "normalize_emails")


class Command(JobCommand):
    """The job ``nightly``."""

    help = (
        f"Runs {', '.join(JOBS)}, one after another. If one fails, the others still run; "
        "nightly then fails and names it."
    )
    time_limit = timedelta(hours=2)
    schedules = (Schedule("0 3 * * *"),)

    def add_arguments(self, parser: CommandParser) -> None:
        """``--fail-fast``."""
        parser.add_argument("--fail-fast", action="store_true", help="Stop at the first job that fails.")

    def handle(self, *args: Any, fail_fast: bool, **options: Any) -> None:
        """Run the jobs; raise CommandError naming those that failed."""
        passed_on = {name: options[name] for name in ("verbosity", "no_color", "force_color")}
        errors: dict[str, BaseException] = {}
        for job in JOBS:
            if error := self._error_of(job, passed_on):
                errors[job] = error
                if fail_fast:
                    break
        if errors:
            raise CommandError(f"Failed: {', '.join(errors)}.") from BaseExceptionGroup(
                "the jobs' errors", list(errors.values())
            )

    def _error_of(self, job: str, passed_on: dict[str, Any]) -> BaseException | None:
        """What the job failed with, said on stderr as well; None when it succeeded."""
        try:
            call_command(job, stdout=self.stdout, stderr=self.stderr, **passed_on)
        except Exception as error:  # noqa: BLE001 - the others must have their turn
            failure: BaseException = error
        except SystemExit as error:
            if not error.code:
                return None
            failure = error
        else:
            return None
        self.stderr.write(f"{job} failed: {failure}")
        return failure
