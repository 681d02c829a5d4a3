"""Records what is worth telling about runs, in the transaction in which they end.

Every path on which a run reaches a final state calls ``run_ended`` or ``runs_ended``. They read the rules,
advance the streak of each rule that applies (``deciding``), and write an ``Alert`` for whatever it says, with
an ``AlertDelivery`` for each destination. Nothing is sent here: that is left to ``delivery``, which no run
waits for.

A mistake in here must not keep a run from ending. So everything happens in a savepoint, and only an outage of
the database is raised, since the end of the run could not be recorded either.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.utils import timezone

from jobledger import clock
from jobledger.alerts import deciding, durations, failure_pauses, subscriptions
from jobledger.alerts.deciding import Saying, Streak
from jobledger.alerts.rules import ATTENDED, Rule, RuleBook
from jobledger.alerts.sending import pings
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.jobs.declaration import AlertKind, Frequency
from jobledger.models import Alert, AlertDelivery, AlertState, Backfill, Reason, Run, Status, Trigger
from jobledger.outages import is_outage
from jobledger.sentry import reports

logger = line_logger(__name__)

# The namespace of the ids of alerts (RFC 9562, version 5).
NAMESPACE = uuid.UUID("9d2a51b8-2e0c-4a57-8f3a-0c9d3c1c7c55")
DIGEST_HOUR = 8

KINDS: Mapping[Status, AlertKind | None] = {
    Status.SUCCEEDED: None,
    Status.SENT: None,
    Status.FAILED: AlertKind.FAILED,
    Status.TIMED_OUT: AlertKind.TIMED_OUT,
    Status.LOST: AlertKind.LOST,
    Status.MISSED: AlertKind.MISSED,
    Status.EXPIRED: AlertKind.MISSED,
    Status.CANCELLED: AlertKind.CANCELLED,
    Status.SKIPPED: AlertKind.SKIPPED,
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that may be worth telling."""

    job: str
    kind: AlertKind | None
    """None: a run succeeded."""
    at: datetime
    key: str
    """Identifies it among the events of its kind."""
    schedule_id: int | None = None
    schedule_name: str = ""
    run_id: uuid.UUID | None = None
    is_attended: bool = False
    """Whether whoever started the run sees how it ends."""
    count: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)


Said = tuple[Rule, Event, Saying]


def run_ended(run: Run, status: Status, now: datetime) -> None:
    """Record what is worth telling about a run that has reached this final state now."""
    with _harmless(f"run {run.pk}"):
        reports.run_ended(run, status, now)
        if run.trigger == Trigger.BACKFILL:
            return  # alerts are about the backfill as a whole, once it has ended
        pings.run_ended(run, status, now)
        events, book = list(_events_of_end(run, status, now)), RuleBook.load()
        record(events, book, now)
        if status is Status.SUCCEEDED and run.trigger not in ATTENDED:
            _end_other_streaks(run, book)


def is_silent_success(began_since: Combinable) -> Q:
    """Whether nobody is to hear of a run's success, as a condition for the statement that records it.

    That is so unless it follows a failure, an external monitor is waiting for it, or it may count as slow,
    because it began before ``began_since``.
    """
    schedule = OuterRef("schedule_id")
    streaks = AlertState.objects.filter(job=OuterRef("job"), schedule_key=Coalesce(schedule, Value(0)))
    return Q(~Exists(streaks), ~Exists(pings.monitored(schedule)), started_at__gt=began_since)


def never_slow_since(job: str) -> Combinable:
    """A run of the job that began later cannot count as slow yet, as an expression for a statement."""
    return clock.in_statement(-durations.never_slow_within(job))


def runs_ended(runs: Iterable[Run], now: datetime) -> None:
    """The same for runs that were not executed; their status is on the rows, which may be a queryset."""
    with _harmless("runs that were not executed"):
        reports.runs_not_executed(runs, now)
        record(_grouped(runs), RuleBook.load(), now)


def backfill_failed(
    backfill: Backfill, now: datetime, *, run_id: uuid.UUID | None, failed: int, total: int
) -> None:
    """Record that runs of a backfill did not succeed, of which this is the first: one alert for all of them.

    It has nothing to do with the streaks of its schedule, which may run well.
    """
    event = Event(
        job=backfill.job,
        kind=AlertKind.FAILED,
        at=now,
        key=f"backfill {backfill.pk}",
        schedule_id=backfill.schedule_id,
        schedule_name=backfill.schedule_name,
        run_id=run_id,
    )
    saying = Saying(kind=AlertKind.FAILED, facts={"backfill": backfill.pk, "failed": failed, "of": total})
    with _harmless(str(backfill)):
        rules = RuleBook.load().rules_of(event.job, event.schedule_id)
        told = [rule for rule in rules if rule.is_about(event.kind) and failed >= rule.terms.after_failures]
        write([(rule, event, saying) for rule in told], now)


def record(events: Iterable[Event], book: RuleBook, now: datetime) -> None:
    """Advance the streaks of the rules that apply, and write the alerts.

    The events are not even looked at if nobody would hear of them.
    """
    if book.is_mute:
        return
    pairs = [
        (rule, event)
        for event in events
        for rule in book.rules_of(event.job, event.schedule_id)
        if rule.is_about(event.kind, is_attended=event.is_attended)
    ]
    said = list(_alone(pairs)) + list(_in_streaks(pairs))
    write(said, now)


def write(said: Sequence[Said], now: datetime) -> None:
    """Write the alerts, and what is to be delivered. Those that are there already are left alone."""
    alerts = [(rule, _alert(rule, event, saying, now)) for rule, event, saying in _told_once(said)]
    # Another process may be writing the same ones. In another order, each could wait for the other.
    alerts.sort(key=lambda each: each[1].pk)
    Alert.objects.bulk_create([alert for _, alert in alerts], ignore_conflicts=True, batch_size=500)
    deliveries = [
        AlertDelivery(
            alert_id=alert.pk,
            destination_id=pk,
            destination_name=name,
            created_at=now,
            due_at=due_at(rule.frequency, now),
        )
        for rule, alert in alerts
        for pk, name in rule.destinations.items()
    ]
    AlertDelivery.objects.bulk_create(deliveries, ignore_conflicts=True, batch_size=500)


def _told_once(said: Sequence[Said]) -> Sequence[Said]:
    """Without what subscribers hear of the same event at their address anyway."""
    subscribed = [pk for rule, _, _ in said if rule.is_subscription for pk in rule.destinations]
    if not subscribed:
        return said
    address_of = subscriptions.addresses_of(subscribed)
    told = defaultdict[tuple[str, AlertKind | None, str], set[str]](set)
    kept = list[Said]()
    for each in sorted(said, key=lambda each: each[0].is_subscription):
        rule, event, _ = each
        addresses = told[event.job, event.kind, event.key]
        if rule.is_subscription:
            mine = {address_of[pk] for pk in rule.destinations if pk in address_of} - addresses
            if not mine:
                continue
            addresses |= mine
        elif rule.frequency is Frequency.IMMEDIATELY:
            # A digest would come too late for those who want to know at once.
            addresses |= set(rule.addresses)
        kept.append(each)
    return kept


def alert_id(rule: Rule, event: Event, kind: AlertKind) -> uuid.UUID:
    """Always the same for the same event and rule."""
    return uuid.uuid5(NAMESPACE, f"{rule.key}:{kind}:{event.key}")


def due_at(frequency: Frequency, now: datetime) -> datetime:
    """When an alert is sent: after a short wait for others like it, or in the next digest."""
    if frequency is Frequency.IMMEDIATELY:
        return now + timedelta(seconds=settings.ALERT_WAIT_SECONDS)
    local = timezone.localtime(now, timezone.get_default_timezone())
    next_one = local.replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0)
    while next_one <= local or (frequency is Frequency.WEEKLY and next_one.weekday()):
        next_one += timedelta(days=1)
    return next_one


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
    except Exception as error:
        if is_outage(error):
            raise
        logger.exception("Could not record whom to tell about %s", what)


def _events_of_end(run: Run, status: Status, now: datetime) -> Iterator[Event]:
    ended = _event(run, status, now)
    yield ended
    if status in (Status.FAILED, Status.TIMED_OUT, Status.LOST):
        # Before any streak is locked: this may wait for beat, which locks them in the opposite order.
        pause = failure_pauses.pause_if_failing(run, now)
        if pause is not None:
            facts = {"failures": pause.failures, "until": pause.until}
            yield replace(ended, kind=AlertKind.PAUSED, key=f"pause {pause.pause_id}", facts=facts)
    elif status is Status.SUCCEEDED and run.started_at is not None:
        took = now - run.started_at
        if (limit := durations.slow_after(run.job, took)) is not None:
            yield replace(ended, kind=AlertKind.SLOW, facts={"limit": limit, "took": took})


def _event(run: Run, status: Status, now: datetime) -> Event:
    return Event(
        job=run.job,
        kind=KINDS[status],
        at=now,
        key=str(run.pk),
        schedule_id=run.schedule_id,
        schedule_name=run.schedule_name,
        run_id=run.pk,
        is_attended=run.trigger in ATTENDED,
    )


def _is_no_news(run: Run) -> bool:
    """Whether a later run does its work, a calendar leaves it out, or nothing is known of its end."""
    is_covered = run.status == Status.MISSED and run.reason in (Reason.COALESCED, Reason.SUPERSEDED)
    return is_covered or run.reason == Reason.LEFT_OUT or run.status == Status.SENT


def _grouped(runs: Iterable[Run]) -> Iterator[Event]:
    """One event for all runs of a schedule that ended in the same way; it refers to the newest of them."""
    groups = defaultdict[tuple[str, int | None, str, str], list[Run]](list)
    for run in runs:
        if _is_no_news(run) or run.trigger == Trigger.BACKFILL:
            continue
        # Without a schedule, they are separate calls.
        alone = "" if run.schedule_id else str(run.pk)
        groups[run.job, run.schedule_id, run.status, alone].append(run)
    for same in groups.values():
        newest = max(same, key=lambda run: run.scheduled_for or run.queued_at)
        first_at = min(run.scheduled_for or run.queued_at for run in same)
        event = _event(newest, Status(newest.status), first_at)
        yield replace(event, count=sum(1 + run.coalesced for run in same))


def _alone(pairs: Sequence[tuple[Rule, Event]]) -> Iterator[Said]:
    """What is told whatever happened before."""
    for rule, event in pairs:
        if event.kind is not None and event.kind not in deciding.FAILURE_KINDS:
            yield rule, event, Saying(kind=event.kind, facts={"count": event.count, **event.facts})


def _in_streaks(pairs: Sequence[tuple[Rule, Event]]) -> Iterator[Said]:
    relevant = [
        (rule, event) for rule, event in pairs if event.kind is None or event.kind in deciding.FAILURE_KINDS
    ]
    if not relevant:
        return
    states = locked_states(relevant)
    changed: dict[int, AlertState] = {}
    for rule, event in relevant:
        if (state := states.get(state_key(rule, event))) is None:
            continue  # a success of a job that has not failed recently
        outcome = deciding.Outcome(kind=event.kind, at=event.at, count=event.count)
        streak, saying = deciding.step(rule.terms, Streak.read(state.state), outcome)
        state.state, changed[state.pk] = streak.as_json(), state
        if saying is not None:
            yield rule, event, saying
    _save(changed.values())


def locked_states(pairs: Sequence[tuple[Rule, Event]]) -> dict[tuple[str, int, str], AlertState]:
    """The states of the rules for these events, locked. A failure creates a missing one."""
    failing = {state_key(rule, event) for rule, event in pairs if event.kind is not None}
    jobs, schedules = {event.job for _, event in pairs}, {event.schedule_id or 0 for _, event in pairs}
    found = AlertState.objects.filter(job__in=jobs, schedule_key__in=schedules)
    found = found.order_by("job", "schedule_key", "rule").select_for_update()
    states = {(state.job, state.schedule_key, state.rule): state for state in found}
    if missing := sorted(failing - set(states)):
        AlertState.objects.bulk_create(
            [AlertState(job=job, schedule_key=pk, rule=rule) for job, pk, rule in missing],
            ignore_conflicts=True,
        )
        states = {(state.job, state.schedule_key, state.rule): state for state in found.all()}
    return states


def _end_other_streaks(run: Run, book: RuleBook) -> None:
    """Forget what rules that do not apply at present have told of: this success is not news for them.

    They may be disabled for a while, or replaced by more specific ones. Otherwise, they would take the next
    failure that they are about for one that they have told.
    """
    applying = [rule.key for rule in book.rules_of(run.job, run.schedule_id)]
    states = AlertState.objects.filter(job=run.job, schedule_key=run.schedule_id or 0)
    # In the order in which they are locked together.
    others = states.exclude(rule__in=applying).order_by("rule").select_for_update()
    if pks := list(others.values_list("pk", flat=True)):
        AlertState.objects.filter(pk__in=pks).delete()


def _save(states: Any) -> None:
    clean = [state.pk for state in states if Streak.read(state.state).is_clean]
    AlertState.objects.filter(pk__in=clean).delete()
    AlertState.objects.bulk_update(
        [state for state in states if state.pk not in clean], ["state"], batch_size=500
    )


def state_key(rule: Rule, event: Event) -> tuple[str, int, str]:
    return event.job, event.schedule_id or 0, rule.key


def _alert(rule: Rule, event: Event, saying: Saying, now: datetime) -> Alert:
    return Alert(
        pk=alert_id(rule, event, saying.kind),
        kind=saying.kind,
        time=now,
        job=event.job,
        run_id=event.run_id,
        schedule_id=event.schedule_id,
        schedule_name=event.schedule_name,
        rule_name=rule.name,
        details={name: _plain(value) for name, value in {**saying.facts, **event.facts}.items()},
    )


def _plain(value: Any) -> Any:
    """A fact as JSON: times in ISO 8601, durations in seconds."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value
