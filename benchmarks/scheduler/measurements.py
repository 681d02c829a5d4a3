"""The measurements, each in a separate process to isolate memory use. All times are medians."""

import gc
import resource
from collections.abc import Iterator
from time import perf_counter, process_time, sleep

import psutil
from celery.beat import Scheduler
from django.conf import settings
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from benchmarks.scheduler.adapter import Adapter
from benchmarks.scheduler.figures import Burst, Filled, Steady, median_ms, timed
from benchmarks.scheduler.messages import Queue
from benchmarks.seed.population import TASK, analyze, fill, multiply

TICKS = 25
"""The number of idle ticks to warm up and to measure; enough for a whole pass of reconciliation."""
JUST_OVER_A_SECOND = 1.05


class UnexpectedBehaviourError(Exception):
    """A scheduler did not do what was to be measured."""


def filled(adapter: Adapter, size: int, *, is_due_together: bool, copies: int = 0) -> Filled:
    """Fill the database and let the scheduler notice it; what it has noticed by then is copied."""
    _queue().empty()
    fill(size, is_due_together=is_due_together)
    adopted_seconds = sum(adapter.slices())
    if copies:
        multiply(copies)
    analyze()
    return Filled(adopted_seconds=adopted_seconds)


def steady(adapter: Adapter, repeat: int) -> Steady:
    """Measure a scheduler of whose schedules none is due."""
    queue = _queue()
    PeriodicTask.objects.exists()
    memory_before = _memory_mib()
    start = perf_counter()
    scheduler = adapter.scheduler()
    scheduler.tick()
    start_seconds = perf_counter() - start
    for _ in range(TICKS):
        sleep_seconds = scheduler.tick()
    memory_after = _memory_mib()
    idle = [timed(scheduler.tick) for _ in range(TICKS)]
    if len(queue):
        raise UnexpectedBehaviourError("something was due")
    passes = [list(adapter.slices()) for _ in range(repeat)]
    edits = list(_edits(adapter, scheduler, repeat))
    _check_update(adapter, scheduler)
    return Steady(
        start_seconds=start_seconds,
        memory_before_mib=memory_before,
        memory_after_mib=memory_after,
        idle_tick_ms=median_ms(idle),
        sleep_seconds=sleep_seconds,
        one_due_tick_ms=median_ms(list(_ticks_with_one_due(scheduler, queue, repeat))),
        save_ms=median_ms([save for save, _ in edits]),
        tick_after_save_ms=median_ms([tick for _, tick in edits]),
        slice_ms=median_ms([max(slices, default=0) for slices in passes]),
        pass_ms=median_ms([sum(slices) for slices in passes]),
        slice_count=len(passes[0]),
        sweep_interval_seconds=adapter.sweep_interval_seconds(),
    )


def burst(adapter: Adapter, *, is_in_full: bool) -> Burst:
    """Measure how long it takes until the messages of all schedules, which are due together, are in Redis."""
    queue = _queue()
    due = PeriodicTask.objects.filter(crontab__isnull=False).count()
    measured_on = due if is_in_full else min(adapter.burst_sample or due, due)
    _avoid_end_of_minute()
    queue.empty()
    scheduler = adapter.scheduler_with_all_due()
    with queue.arrival(measured_on) as arrival:
        start, processor_start = perf_counter(), process_time()
        while len(queue) < measured_on and not arrival.done():
            sleep(max(scheduler.tick(), 0))
        processor_seconds = process_time() - processor_start
        seconds = arrival.result() - start
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Burst(
        due=due,
        measured_on=measured_on,
        seconds=seconds * due / measured_on,
        processor_seconds=processor_seconds * due / measured_on,
        memory_peak_mib=peak_kib / 1024,
    )


def _queue() -> Queue:
    prefix = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"]
    return Queue(settings.CELERY_BROKER_URL, f"{prefix}celery")


def _edits(adapter: Adapter, scheduler: Scheduler, repeat: int) -> Iterator[tuple[float, float]]:
    """Save edited schedules; yields the seconds for each save and for the next tick."""
    for schedule in PeriodicTask.objects.filter(crontab__isnull=False).order_by("pk")[:repeat]:
        schedule.crontab = CrontabSchedule.objects.exclude(pk=schedule.crontab_id).order_by("?")[0]
        yield timed(schedule.save), timed(scheduler.tick)
        if not adapter.knows(scheduler, schedule):
            raise UnexpectedBehaviourError("an edit was not noticed at the next tick")


def _check_update(adapter: Adapter, scheduler: Scheduler) -> None:
    """Check that a pass, if the scheduler has passes, notices a change that sends no signal."""
    schedule = PeriodicTask.objects.filter(crontab__isnull=False).latest("pk")
    schedule.crontab = CrontabSchedule.objects.exclude(pk=schedule.crontab_id)[0]
    PeriodicTask.objects.filter(pk=schedule.pk).update(crontab=schedule.crontab)
    if list(adapter.slices()) and not adapter.knows(scheduler, schedule):
        raise UnexpectedBehaviourError("an update was not noticed by a whole pass")


def _ticks_with_one_due(scheduler: Scheduler, queue: Queue, repeat: int) -> Iterator[float]:
    every_second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(name="every second", task=TASK, interval=every_second)
    scheduler.tick()
    for _ in range(repeat):
        sleep(JUST_OVER_A_SECOND)
        queue.empty()
        yield timed(scheduler.tick)
        if not queue:
            raise UnexpectedBehaviourError("the message of the due schedule is not in Redis")


def _avoid_end_of_minute() -> None:
    """Wait if necessary, so that the schedules do not become due a second time during the measurement."""
    second = timezone.now().second
    if second > 40:
        sleep(60 - second)


def _memory_mib() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 1024**2
