"""Fills a database for admin benchmarks: ``python -m benchmarks.seed --schedules 1000 --runs 1000000``.

Uses the database in ``DATABASE_URL``, and applies migrations first. Refuses to change a database that
already has runs or schedules. The schedules are enabled: if beat runs on this database, it starts them.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence

import django


def main(arguments: Sequence[str] | None = None) -> None:
    """Migrate and fill the database, and print how long it took."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
    django.setup()
    _seed(options.schedules, options.runs, options.copies)


def _seed(schedule_count: int, run_count: int, copies: int) -> None:
    from django.core.management import call_command
    from django.utils import timezone
    from django_celery_beat.models import PeriodicTask

    from benchmarks.seed import population, runs, schedules
    from jobledger.models import Run

    # It would report each broken schedule, and some are broken on purpose.
    logging.getLogger("jobledger.schedules.due.ledger").setLevel(logging.CRITICAL)
    started = time.monotonic()
    call_command("migrate", verbosity=0)
    if Run.objects.exists() or PeriodicTask.objects.exists():
        raise SystemExit("This database already has runs or schedules; nothing was inserted.")
    # Before there are schedules, whose next slots are recorded once they are due.
    now = timezone.now()
    made = schedules.make(schedule_count)
    runs.make(made, run_count, now)
    longest = runs.make_output()
    if copies:
        runs.repeat(copies)
    population.analyze()
    seconds, total = time.monotonic() - started, run_count * (1 + copies)
    sys.stdout.write(
        f"{schedule_count} schedules and {total} runs in {seconds:.0f} s;"
        f" the run with the most output is {longest}.\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seed", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument(
        "--copies", type=int, default=0, help="how often PostgreSQL copies the runs into the past; default: 0"
    )
    return parser


if __name__ == "__main__":
    main()
