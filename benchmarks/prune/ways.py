"""The part of ``benchmarks.prune`` that runs inside the service: ways to delete old runs, and a writer."""

import json
import os
import select
import sys
import time
from contextlib import suppress
from datetime import timedelta

import django

PAUSE_SECONDS = 0.02
TEXT = "1,204 tokens deleted (cutoff=2026-10-29)\n" * 5


def main() -> None:
    """Delete in one of the ways, or write until stdin ends."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
    django.setup()
    way = sys.argv[1]
    if way == "fill":
        _fill()
    elif way == "write":
        _write()
    else:
        began = time.perf_counter()
        deleted = {"prune_runs": _prune_runs, "queryset": _queryset, "statement": _statement}[way]()
        json.dump({"deleted": deleted, "seconds": time.perf_counter() - began}, sys.stdout)


def _fill() -> None:
    """Give every run a little output: the other runs' output is from ``benchmarks.seed``."""
    from django.db import connection

    from benchmarks.seed import population

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobledger_runoutput (run_id, attempt, number, stream, text, written_at)"
            " SELECT id, 1, 1000, 'stdout', %s, queued_at FROM jobledger_run",
            [TEXT],
        )
    population.analyze()


def _prune_runs() -> int:
    from django.core.management import call_command

    from jobledger.models import Run

    # Not those of the writer, and not its own.
    seeded = Run.objects.exclude(job__in=("written", "prune_runs"))
    before = seeded.count()
    call_command("prune_runs", stdout=sys.stderr, verbosity=2)
    return before - seeded.count()


def _queryset() -> int:
    from django.conf import settings
    from django.utils import timezone

    from jobledger.models import Run

    cutoff = timezone.now() - timedelta(days=settings.JOBLEDGER["KEEP_DAYS"])
    _, by_model = Run.objects.filter(queued_at__lt=cutoff).delete()
    return by_model.get("jobledger.Run", 0)


def _statement() -> int:
    from django.conf import settings
    from django.db import connection, transaction
    from django.utils import timezone

    cutoff = timezone.now() - timedelta(days=settings.JOBLEDGER["KEEP_DAYS"])
    value = connection.ops.adapt_datetimefield_value(cutoff)
    old = "(SELECT id FROM jobledger_run WHERE queued_at < %s)"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM jobledger_runoutput WHERE run_id IN {old}", [value])
        cursor.execute(f"DELETE FROM jobledger_runattempt WHERE run_id IN {old}", [value])
        cursor.execute("DELETE FROM jobledger_run WHERE queued_at < %s", [value])
        return int(cursor.rowcount)


def _write() -> None:
    """Write a row in a transaction of its own, again and again; prints how long each took, or waited."""
    from django.db import OperationalError
    from django.utils import timezone

    from jobledger.models import Run, Trigger

    sys.stdout.write("writing\n")
    sys.stdout.flush()
    waits = list[float]()
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        run = Run(job="written", trigger=Trigger.CLI, queued_at=timezone.now())
        began = time.perf_counter()
        # SQLite gives up after some seconds.
        with suppress(OperationalError):
            run.save(force_insert=True)
        waits.append(time.perf_counter() - began)
    json.dump(waits, sys.stdout)


if __name__ == "__main__":
    main()
