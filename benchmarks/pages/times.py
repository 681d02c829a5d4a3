"""The part of ``benchmarks.pages`` that runs inside the service: requests each page and prints JSON."""

import argparse
import json
import os
import sys
import time
from typing import Any

import django


def main() -> None:
    """Print a list of pages, each with its number of queries, and the CPU time and time of each request."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
    django.setup()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages.times", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    sys.stdout.write(json.dumps(measured(repeat=parser.parse_args().repeat)))


def measured(*, repeat: int) -> list[dict[str, Any]]:
    from django.contrib.auth import get_user_model
    from django.test import Client

    from benchmarks.pages.__main__ import PAGES

    client = Client(headers={"host": "localhost"})
    client.force_login(get_user_model().objects.create_superuser("benchmark"))
    known = names()
    _count_runs()
    return [_page(client, title, path.format(**known), repeat) for title, path in PAGES]


def names() -> dict[str, Any]:
    """A job, the run with the most output, and a schedule, for the pages that need one."""
    from django.db.models import Count
    from django_celery_beat.models import PeriodicTask

    from jobledger.models import Run, RunOutput

    rows = RunOutput.objects.values_list("run").annotate(pieces=Count("pk")).order_by("-pieces")
    run = Run.objects.get(pk=rows[0][0])
    return {"job": run.job, "run": run.pk, "schedule": PeriodicTask.objects.order_by("pk")[0].pk}


def _count_runs() -> None:
    """Count the history, as the first requests of the metrics or the first pruning do."""
    from jobledger import clock
    from jobledger.metrics import totals

    start = time.perf_counter()
    totals.count_all(clock.now())
    sys.stderr.write(f"counted all runs in {time.perf_counter() - start:.1f} s\n")


def _page(client: Any, title: str, path: str, repeat: int) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    cpu_seconds, seconds = zip(*(_timed(client, path) for _ in range(repeat + 1)), strict=True)
    with CaptureQueriesContext(connection) as queries:
        client.get(path)
    return {"page": title, "queries": len(queries), "cpu_seconds": cpu_seconds, "seconds": seconds}


def _timed(client: Any, path: str) -> tuple[float, float]:
    """The CPU time of this process, which includes SQLite but not a server, and the time, in seconds."""
    start, cpu_start = time.perf_counter(), time.process_time()
    response = client.get(path)
    if response.status_code != 200:
        raise SystemExit(f"{path}: {response.status_code}")
    return time.process_time() - cpu_start, time.perf_counter() - start


if __name__ == "__main__":
    main()
