"""The metrics: their names, labels and meaning. ``docs/reference/metrics.md`` lists the same ones.

Labels have few values: those of a trigger and a status come from the code, and so do those of most jobs and
queues; the number of others is limited. Names of schedules, ids and texts are never labels.
"""

from dataclasses import dataclass
from enum import StrEnum

JOB = "job_name"
"""Prometheus itself adds a label ``job``, and would rename ours."""


class Kind(StrEnum):
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, kw_only=True)
class Metric:
    name: str
    """Without the suffix ``_total`` of a counter."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exposed_name(self) -> str:
        """As it is queried; a histogram's has ``_bucket``, ``_count`` or ``_sum`` appended."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


def _metric(name: str, help_text: str, *labels: str, kind: Kind = Kind.GAUGE) -> Metric:
    return Metric(name=f"jobledger_{name}", kind=kind, help=help_text, labels=labels)


RUNS = _metric(
    "runs",
    "Runs that have ended, or were not executed, as their status says.",
    JOB,
    "trigger",
    "status",
    kind=Kind.COUNTER,
)
DURATION = _metric(
    "run_duration_seconds", "How long the last attempt of runs took.", JOB, kind=Kind.HISTOGRAM
)
START_DELAY = _metric(
    "run_start_delay_seconds",
    "How long after their scheduled time, or after they were queued, workers started runs.",
    JOB,
    kind=Kind.HISTOGRAM,
)
LAST_SUCCESS = _metric("last_success_timestamp_seconds", "When a run of the job last succeeded.", JOB)
NEXT_RUN = _metric(
    "next_run_timestamp_seconds", "When a schedule starts the job next, unless it will be paused then.", JOB
)
RUNNING = _metric("running_runs", "Runs that are being executed.", JOB)
QUEUED = _metric("queued_runs", "Runs that wait for a worker.", "queue")
QUEUE_AGE = _metric("queue_oldest_age_seconds", "How long the oldest of these has waited.", "queue")
QUEUE_RUNNING = _metric("queue_running_runs", "Runs of the queue that workers are executing.", "queue")
SCHEDULES = _metric("schedules", "Enabled schedules.")
BROKEN = _metric("broken_schedules", "Enabled schedules that start nothing, because they are invalid.")
OVERDUE = _metric("overdue_schedules", "Schedules that beat should have started more than 20 seconds ago.")
OVERDUE_AGE = _metric("overdue_seconds", "How long the earliest schedule has been due; 0 if none is.")
PAUSED_SCHEDULES = _metric("paused_schedules", "Enabled schedules that are paused by themselves.")
PAUSED = _metric("paused", "1 while the whole service is paused, otherwise 0.")
BEATS = _metric("beats", "Beats that are running.")
BEAT_AGE = _metric("beat_tick_age_seconds", "How long ago a beat last reported, about every ten seconds.")
WORKERS = _metric("workers", "Workers that are running.")
CAPACITY = _metric("worker_processes", "How many runs the running workers can execute at a time.")
BUSY = _metric("worker_busy_processes", "How many of these are executing something.")
BUILD = _metric("build_info", "Always 1.", "version")

METRICS = (
    *(RUNS, DURATION, START_DELAY, LAST_SUCCESS, NEXT_RUN, RUNNING),
    *(QUEUED, QUEUE_AGE, QUEUE_RUNNING),
    *(SCHEDULES, BROKEN, OVERDUE, OVERDUE_AGE, PAUSED_SCHEDULES, PAUSED),
    *(BEATS, BEAT_AGE, WORKERS, CAPACITY, BUSY, BUILD),
)
