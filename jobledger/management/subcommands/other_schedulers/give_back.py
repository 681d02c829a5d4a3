"""``jobledger give_back``: prepares for going back to django-celery-beat's own scheduler."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobledger import clock, formats
from jobledger.jobs import registry
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Pause, ProcessKind, Run, SchedulePolicy, Status
from jobledger.runs.service.presence import present
from jobledger.schedules.adoption.giving_back import give_back
from jobledger.schedules.adoption.review import Effect, Review, reviews


class Command(OperatorCommand):
    """Prints a line for everything that the other scheduler does differently, and what was done on stderr."""

    help = (
        "Prepare for going back to django-celery-beat's scheduler. It then continues where beat stopped, and "
        "starts nothing twice. Run this after stopping beat and before starting the other. Safe to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="Only report what will be different.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Report first: the other scheduler's next starts depend on what is then stored."""
        for line in (*_differences(), *_left_behind()):
            self.say(line)
        if not options["check"]:
            self._warn_of_beat()
            count = give_back()
            self.remark(f"Stored where to continue for {count} schedule{'' if count == 1 else 's'}.")

    def _warn_of_beat(self) -> None:
        """It is not known whether a beat that has just reported is still running."""
        now = clock.now()
        if beat := present(ProcessKind.BEAT, now).order_by("-seen_at").first():
            seen = formats.relative(beat.seen_at, now)
            self.warn(f"Beat was last seen {seen}. If it is still running, stop it, and run this again.")


def _differences() -> Iterator[str]:
    """What the other scheduler does with a schedule."""
    for review in reviews(clock.now()):
        if text := _difference(review):
            yield f"{review.name}: {text}"


def _difference(review: Review) -> str:
    next_start = review.before[0].isoformat(timespec="seconds") if review.before else ""
    if next_start and not review.after:
        return f"it is never started here, but will be, next at {next_start}"
    if review.after and not next_start:
        return "it will never be started: Celery does not accept its expression"
    if next_start and review.effect is Effect.DECIDED:
        return f"it will be started at other times, next at {next_start}"
    return ""


def _left_behind() -> Iterator[str]:
    now = clock.now()
    if count := Run.objects.filter(status=Status.QUEUED).count():
        yield f"Queued runs: {count}. No message of them is sent again: wait for them, or cancel them."
    if count := Pause.objects.active_at(now).count():
        yield f"Pauses: {count}. They have no effect: disable the schedules instead."
    if count := SchedulePolicy.objects.filter(schedule__enabled=True).exclude(calendars="").count():
        yield f"Schedules with calendars: {count}. They run on the days that these leave out as well."
    names = [job.task_name for job in registry.all_jobs().values()]
    if count := PeriodicTask.objects.filter(task__in=names).count():
        yield f"Schedules of jobs: {count}. Delete them before you uninstall jobledger."
