"""How long a job's runs may take before they count as slow."""

from datetime import timedelta
from statistics import median

from jobledger.formats import MAX_DURATION
from jobledger.jobs import registry
from jobledger.models import Run, Status

SAMPLE = 50
MIN_SAMPLE = 10
"""With fewer successful runs, nobody knows what is usual."""
FACTOR = 3
MIN_USUAL_LIMIT = timedelta(minutes=5)
"""Shorter runs are slow only if their job declares an expected duration."""


def slow_after(job: str, running_for: timedelta) -> timedelta | None:
    """The duration that a run of the job has exceeded by now; None if it is not slow.

    What the job declares, or else three times the median of its last successful runs.
    """
    limit = registry.declaration_of(job).expected_duration
    if limit is None and running_for > MIN_USUAL_LIMIT:
        limit = _usual_limit(job)
    return limit if limit is not None and running_for > limit else None


def never_slow_within(job: str) -> timedelta:
    """A run of the job that takes no longer than this is certainly not slow."""
    declared = registry.declaration_of(job).expected_duration
    # It is subtracted from a time.
    return MIN_USUAL_LIMIT if declared is None else min(declared, MAX_DURATION)


def _usual_limit(job: str) -> timedelta | None:
    done = Run.objects.newest_of_job(job).that_ended(Status.SUCCEEDED).filter(started_at__isnull=False)
    times = done.values_list("started_at", "finished_at")[:SAMPLE]
    durations = [end - begin for begin, end in times if begin and end]
    if len(durations) < MIN_SAMPLE:
        return None
    usual: timedelta = median(durations)  # type: ignore[type-var]  # durations can be halved
    return max(FACTOR * usual, MIN_USUAL_LIMIT)
