"""``jobledger adopt``: takes over the schedules that django-celery-beat's own scheduler has run."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Q
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.escapes import escaped
from jobledger.management import printing
from jobledger.management.operator_command import OperatorCommand
from jobledger.schedules.adoption.review import Effect, Review, are_queues_known, reviews, unstored_entries
from jobledger.schedules.due import ledger

BATCH = 500
SUMMARY = {
    Effect.CHANGES: ("changes in a way that nobody has decided", "change in a way that nobody has decided"),
    Effect.KEPT: ("keeps its old meaning by Celery's rules", "keep their old meaning by Celery's rules"),
    Effect.DECIDED: (
        "follows cron's rules, and would not mean the same by Celery's",
        "follow cron's rules, and would not mean the same by Celery's",
    ),
}
"""For one schedule, and for several."""
SAME = ("means the same", "mean the same")
ORDINARY = ("starts an ordinary task", "start ordinary tasks")

UNCHECKED = (
    "Queues were not checked, because no worker of this service has reported. The schedules use: {}. "
    "Check again when the workers run."
)


class Command(OperatorCommand):
    """Prints each schedule about which there is something to say, and a summary on stderr."""

    help = (
        "Adopt django-celery-beat's schedules, and report what changes. Those that its own scheduler would "
        "start at other times keep their old meaning. Safe to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="Only report, and exit with 1 if anything changes that nobody has decided.",
        )
        parser.add_argument("--json", action="store_true", help="Print a JSON list with all schedules.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Report before anything is stored, so that both ways print the same."""
        now = clock.now()
        found = list(reviews(now))
        if options["json"]:
            lines = printing.json_lines(_as_json(each) for each in found)
        else:
            lines = (line for each in found if each.findings for line in _lines(each))
        is_complete = printing.write_lines(self.stdout, lines)
        unstored = unstored_entries()
        if is_complete:
            for name in unstored:
                self.warn(f"{name}: it is in beat_schedule, but not in the database, so it is never started.")
            self.remark(_summary(found))
            if not are_queues_known(now) and (queues := {each.queue for each in found if each.queue}):
                self.remark(UNCHECKED.format(", ".join(sorted(queues))))
        if not options["check"]:
            self.remark(_adopt())
        elif unstored or any(each.effect is Effect.CHANGES for each in found):
            raise CommandError("Correct or disable what changes, then check again.")


def _adopt() -> str:
    missing = Q(policy=None) | Q(next_slot=None)
    ids = list(PeriodicTask.objects.filter(missing, enabled=True).values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        ledger.take_over(ids[start : start + BATCH], clock.now())
    if not ids:
        return "Nothing was stored: all enabled schedules were adopted before."
    return f"Adopted {len(ids)} schedule{'' if len(ids) == 1 else 's'}."


def _lines(review: Review) -> Iterator[str]:
    yield escaped(f"{review.name}: {review.timing or 'no times'}, {review.task}")
    for finding in review.findings:
        yield escaped(f"  {finding.effect}: {finding.text}")
    if review.listed_from is not None:
        yield f"    {'from':8} {_local(review.listed_from)} on, where a clock change makes a difference"
    before, after = (list(map(_local, starts)) for starts in (review.before, review.after))
    if review.effect is not Effect.NOTE or before != after:
        yield _times("before", before)
        yield _times("after", after)
        if review.by_cron is not None:
            yield _times("by cron", map(_local, review.by_cron))


def _times(label: str, times: Iterable[str]) -> str:
    return f"    {label:8} {'  '.join(times) or 'never'}"


def _local(time: datetime) -> str:
    return time.astimezone(timezone.get_default_timezone()).isoformat(timespec="seconds")


def _summary(found: Sequence[Review]) -> str:
    counts = Counter(each.effect for each in found)
    same = len(found) - sum(counts[effect] for effect in SUMMARY)
    parts = [_counted(counts[effect], text) for effect, text in SUMMARY.items() if counts[effect]]
    total = f"{len(found)} enabled schedule{'' if len(found) == 1 else 's'}"
    text = f"{total}: " + "; ".join([_counted(same, SAME), *parts]) + "."
    ordinary = sum(not each.is_job for each in found)
    return f"{text} {_counted(ordinary, ORDINARY)}." if ordinary else text


def _counted(count: int, texts: tuple[str, str]) -> str:
    return f"{count} {texts[count != 1]}"


def _as_json(review: Review) -> dict[str, Any]:
    return {
        "schedule": review.name,
        "task": review.task,
        "timing": review.timing,
        "is_job": review.is_job,
        "queue": review.queue,
        "effect": review.effect,
        "findings": [{"effect": each.effect, "text": each.text} for each in review.findings],
        "listed_from": review.listed_from and review.listed_from.isoformat(),
        "before": _json_times(review.before),
        "after": _json_times(review.after),
        "by_cron": None if review.by_cron is None else _json_times(review.by_cron),
    }


def _json_times(times: Sequence[datetime]) -> list[str]:
    return [time.isoformat() for time in times]
