"""Which runs have started a run by a chain, and which it has started."""

from collections.abc import Sequence

from django.db.models import Q

from jobledger.models import ChainStart, Run, Trigger

MAX_RUNS = 50


def predecessors_of(run: Run) -> Sequence[Run]:
    """The runs after which this one has started, by their jobs."""
    if run.trigger != Trigger.CHAIN or run.schedule_id is None or run.scheduled_for is None:
        return ()
    starts = ChainStart.objects.filter(schedule=run.schedule_id, scheduled_for=run.scheduled_for)
    found = Run.objects.filter(pk__in=starts.values("predecessor"))
    return list(found.order_by("job", "pk")[:MAX_RUNS])


def followers_of(run: Run) -> Sequence[Run]:
    """The runs that have started after this one, or would have, by their jobs."""
    if run.schedule_id is None:
        return ()
    slots = list(run.chain_starts.values_list("schedule", "scheduled_for")[:MAX_RUNS])
    if not slots:
        return ()
    are_started = Q()
    for schedule, slot in slots:
        are_started |= Q(schedule=schedule, scheduled_for=slot)
    return list(Run.objects.filter(are_started, trigger=Trigger.CHAIN).order_by("job", "pk"))
