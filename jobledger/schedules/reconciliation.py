"""Keeps ``NextSlot`` and ``SchedulePolicy`` in sync with the schedules, however those are changed.

Signal handlers, which ``signals`` connects, react to every save and delete immediately, in the transaction
that makes the change.
``Reconciliation`` finds changes that send no signal (``update()``, SQL, fixtures, migrations): the database
compares each schedule's ``timing`` and ``target`` with the values stored last. That takes time for each of
the schedules, so it is not done while nothing has been written, and never takes more than a small share of
the time.
"""

from collections.abc import Collection
from datetime import datetime
from time import monotonic
from typing import Any

from django.db import connections, router, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.models import Calendar, NextSlot, Pause, Predecessor, ScheduleCalendar, SchedulePolicy
from jobledger.runs import lasting_connections, ordinary_tasks
from jobledger.runs.publishing import wake_up
from jobledger.schedules import calendars, stored_schedules
from jobledger.schedules.chains import links
from jobledger.schedules.due import ledger
from jobledger.schedules.signals import TIMING_FIELDS

SLICE_SIZE = 5000
PASS_INTERVAL_SECONDS = 15.0
LONGEST_INTERVAL_SECONDS = 600.0
"""Between two passes if nothing seems to have been written, since a database may not say so."""
MAX_SHARE = 0.02
"""How much of the time a pass may take, except the first one."""
MAX_IDLE_SHARE = 0.00025
"""The same if nothing seems to have been written: with very many schedules, such passes are further apart."""

_MODELS = (PeriodicTask, *TIMING_FIELDS, SchedulePolicy, NextSlot, Calendar, ScheduleCalendar)
_COMPARED = [model._meta.db_table for model in _MODELS]
_ROWS_WRITTEN = """
SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del) FROM pg_stat_all_tables WHERE relname = ANY(%s)
"""


def recheck_held(schedule_ids: Collection[int] | None, now: datetime) -> None:
    """Make beat plan these schedules (None: all) again if a pause may be holding a slot that has passed."""
    is_held, waits_for_others = Q(broken="", slot__lte=now), Q(look_at__isnull=False)
    held = NextSlot.objects.filter(is_held | waits_for_others)
    if schedule_ids is not None:
        held = held.filter(schedule__in=schedule_ids)
    due_at = Case(When(is_held, then=Value(now)), default=F("due_at"))
    look_at = Case(When(waits_for_others, then=Value(now)), default=F("look_at"))
    with transaction.atomic(savepoint=False):
        in_order = held.order_by("pk").select_for_update().values("pk")
        changed = NextSlot.objects.filter(pk__in=in_order).update(due_at=due_at, look_at=look_at)
    if changed:
        wake_up.beats()


class Reconciliation:
    """Passes over all schedules, one slice at a time, so that no tick has to wait for a whole pass."""

    def __init__(self) -> None:
        """Begin a pass at the first call."""
        self._after_pk = 0
        self._next_slice_at = 0.0
        self._began_at = -LONGEST_INTERVAL_SECONDS
        self._written_before: object = None
        self._is_first = True
        self._pass_seconds = 0.0
        self._longest_interval_seconds = LONGEST_INTERVAL_SECONDS

    @property
    def is_behind(self) -> bool:
        """Whether the first pass has begun, and has not seen all schedules yet."""
        return self._is_first and bool(self._after_pk)

    def advance(self, monotonic_seconds: float) -> bool:
        """Check the next slice of the current pass, or start a new pass if it is time for one.

        Returns whether a slice was checked.
        """
        if monotonic_seconds < self._next_slice_at:
            return False
        if not self._after_pk and not self._may_begin(monotonic_seconds):
            self._next_slice_at = monotonic_seconds + PASS_INTERVAL_SECONDS
            return False
        began = monotonic()
        is_complete = self.step()
        seconds = monotonic() - began
        self._pass_seconds += seconds
        # What was written while no beat was there is found at once.
        pause = 0.0 if self._is_first else seconds / MAX_SHARE
        self._is_first = self._is_first and not is_complete
        if is_complete:
            least = self._pass_seconds / MAX_IDLE_SHARE
            self._longest_interval_seconds, self._pass_seconds = max(LONGEST_INTERVAL_SECONDS, least), 0.0
        next_pass_at = self._began_at + PASS_INTERVAL_SECONDS if is_complete else 0.0
        self._next_slice_at = max(next_pass_at, monotonic_seconds + pause)
        return True

    def _may_begin(self, monotonic_seconds: float) -> bool:
        """Whether anything may have been written since the last pass began; if so, a pass begins."""
        before, self._written_before = self._written_before, _written()
        is_long_ago = monotonic_seconds - self._began_at >= self._longest_interval_seconds
        if self._written_before is not None and self._written_before == before and not is_long_ago:
            return False
        self._began_at = monotonic_seconds
        return True

    def step(self) -> bool:
        """Sync what has changed in the next slice; returns whether the pass is complete."""
        if not self._after_pk and Predecessor.objects.filter(schedule=None).exists():
            # These are broken until then, so that the pass finds them.
            links.link_up(clock.now())
        schedules = PeriodicTask.objects.filter(pk__gt=self._after_pk).order_by("pk")
        last = schedules.values_list("pk", flat=True)[SLICE_SIZE - 1 : SLICE_SIZE].first()
        slice_ = schedules if last is None else schedules.filter(pk__lte=last)
        policies = SchedulePolicy.objects.filter(pk__gt=self._after_pk)
        # Their timing has changed once the copies are renewed.
        calendars.refresh(policies if last is None else policies.filter(pk__lte=last))
        if changed := list(_changed(slice_).values_list("pk", flat=True)):
            ledger.sync(changed, clock.now(), is_beat=True)
        self._after_pk = last or 0
        return last is None


def _written() -> object:
    """Something that differs after anybody has written what a pass compares; None if that is unknown."""
    connection = connections[router.db_for_read(PeriodicTask)]
    if connection.vendor != "postgresql":
        return lasting_connections.written(connection)
    with connection.cursor() as cursor:
        # Counted with a delay, so that a change may count twice, but never not at all.
        cursor.execute(_ROWS_WRITTEN, [_COMPARED])
        return cursor.fetchone()


def _changed(schedules: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
    """The schedules whose row is missing, stale, broken or obsolete, or whose task no longer exists."""
    is_obsolete = Q(enabled=False, next_slot__isnull=False)
    is_same = Q(next_slot__timing=F("timing"), next_slot__target=F("target"), next_slot__broken="")
    is_stale = Q(next_slot__isnull=True) | ~is_same | Q(task__in=_refused_tasks(schedules)) | Q(policy=None)
    annotated: QuerySet[PeriodicTask] = schedules.annotate(
        timing=stored_schedules.TIMING, target=stored_schedules.TARGET
    )
    return annotated.filter(is_obsolete | Q(enabled=True) & is_stale)


def _refused_tasks(schedules: QuerySet[PeriodicTask]) -> list[str]:
    """Tasks that existed and were allowed when their schedules were validated, and are not now."""
    tasks = schedules.filter(enabled=True).order_by().values_list("task", flat=True).distinct()
    return [task for task in tasks if ordinary_tasks.why_not_schedulable(task)]


def schedule_saved(
    sender: Any, instance: PeriodicTask, *, raw: bool = False, created: bool = False, **kwargs: Any
) -> None:
    if raw:  # a fixture: the rows that it refers to may not exist yet
        return
    now = clock.now()
    if created:
        anchor = {"anchor": now.replace(microsecond=0)}
        SchedulePolicy.objects.get_or_create(schedule=instance, defaults=anchor)
    # Created or renamed.
    followers = links.link_up(now, name=instance.name)
    ledger.sync([instance.pk, *followers], now)


def schedule_deleting(sender: Any, instance: PeriodicTask, **kwargs: Any) -> None:
    """What starts after it names it as it is called now."""
    Predecessor.objects.filter(schedule=instance.pk).update(name=instance.name)


def schedule_deleted(sender: Any, instance: PeriodicTask, **kwargs: Any) -> None:
    """What started after it is broken from now on."""
    orphaned = Predecessor.objects.filter(schedule=None, name=instance.name)
    if followers := list(orphaned.values_list("follower", flat=True)):
        ledger.sync(followers, clock.now())


def times_saved(
    sender: Any, instance: Any, *, raw: bool = False, created: bool = False, **kwargs: Any
) -> None:
    if raw or created:
        return
    schedules = PeriodicTask.objects.filter(**{TIMING_FIELDS[sender]: instance}, enabled=True)
    ledger.sync(list(schedules.values_list("pk", flat=True)), clock.now())


def policy_saved(
    sender: Any, instance: SchedulePolicy, *, raw: bool = False, created: bool = False, **kwargs: Any
) -> None:
    if raw or created:
        return
    if instance.calendars:
        calendars.refresh(SchedulePolicy.objects.filter(pk=instance.pk))
    ledger.sync([instance.pk], clock.now())


@transaction.atomic
def calendar_saved(
    sender: Any, instance: Calendar, *, raw: bool = False, created: bool = False, **kwargs: Any
) -> None:
    if raw or created:
        return
    policies = SchedulePolicy.objects.filter(schedule__calendars__calendar=instance)
    if outdated := calendars.refresh(policies):
        ledger.sync(outdated, clock.now())


def pause_changed(sender: Any, instance: Pause, *, raw: bool = False, **kwargs: Any) -> None:
    if not raw:
        recheck_held(None if instance.schedule_id is None else [instance.schedule_id], clock.now())
