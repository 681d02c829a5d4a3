"""``sync`` applies the declared schedules to the database.

Each schedule is one transaction, which locks its ``DeclaredSchedule`` first, then the schedule: two syncs, or
a sync and an edit, do not get between each other. Nothing is changed unless all declarations are valid.

A ``DeclaredSchedule`` links the declaration to its schedule, whatever its name is by now. If a user has
deleted the schedule, it stays deleted. What the code no longer declares is disabled, once, and kept.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import partial

from django.db import IntegrityError, OperationalError, transaction
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobledger import clock
from jobledger.escapes import escaped
from jobledger.jobs import registry
from jobledger.models import Calendar, DeclaredSchedule, SchedulePolicy
from jobledger.schedules import audit, calendars, locking
from jobledger.schedules.chains import links
from jobledger.schedules.chains.cycles import path_of
from jobledger.schedules.declared import (
    DeclarationError,
    Declared,
    by_name,
    calendar_sync,
    chains,
    is_import_failing,
    missing_calendars,
    naming_calendars,
    validated,
)
from jobledger.schedules.declared.calendars import declared_calendars
from jobledger.schedules.declared.merge import (
    FIELDS,
    UNKNOWN,
    State,
    Values,
    changed,
    merge,
    taken,
    unit_of,
)
from jobledger.schedules.declared.merged import as_meant, is_spent, merged
from jobledger.schedules.declared.outcomes import Action, Difference, Outcome
from jobledger.schedules.declared.values import (
    POLICY_FIELDS,
    assign,
    declared_values,
    formatted,
    stored_values,
)
from jobledger.schedules.documents import version_of
from jobledger.schedules.due import ledger
from jobledger.schedules.rules.slots import RuleError

_COLUMNS = ("task", "args", "kwargs", "queue", "priority", "enabled", "description", "one_off", "last_run_at")
_TIMES = ("crontab", "interval", "solar", "clocked")
_AS_DECLARED = "as declared in code"
_CALENDARS = {"not_on", "only_on", "left_out"}
_POLICY_COLUMNS = (*POLICY_FIELDS, "dialect", "calendars", "after")


class MissingCalendarError(DeclarationError):
    """A declared schedule names a calendar that is not in the database."""


class UnknownScheduleError(LookupError):
    """No such schedule is declared."""


def sync(*, dry_run: bool = False) -> list[Outcome]:
    """Apply the declared calendars and schedules; returns an outcome for each.

    Raises DeclarationError, or MissingCalendarError, before anything is changed.
    """
    found = _with_known_names(validated())
    # First, since schedules may use them.
    outcomes = [
        _retried(partial(calendar_sync.sync, name, entries, dry_run=dry_run))
        for name, entries in declared_calendars().items()
    ]
    if not dry_run:
        calendar_sync.release_others()
    outcomes += [_retried(partial(_sync, one, dry_run=dry_run)) for one in found]
    orphaned = DeclaredSchedule.objects.exclude(name__in=[one.name for one in found]).order_by("name")
    records = list(orphaned.values_list("pk", flat=True))
    return [*outcomes, *(each for pk in records if (each := _orphan(pk, dry_run=dry_run)))]


def reset(name: str) -> Outcome:
    """Give all of a schedule's fields the code's values, and create it if a user has deleted it.

    ``name`` is that in the code or in the database. Raises DeclarationError, or UnknownScheduleError.
    """
    found = {each.name: each for each in _with_known_names(validated())}
    renamed = DeclaredSchedule.objects.filter(schedule__name=name).values_list("name", flat=True).first()
    one = found.get(renamed or name) or found.get(name)
    if one is None and name in (entries := declared_calendars()):
        return _retried(partial(calendar_sync.sync, name, entries[name], is_reset=True))
    if one is None:
        hint = registry.suggestion(name, found)
        raise UnknownScheduleError(f"No schedule {name!r} is declared in code. {hint}".rstrip())
    chains.check_cycles(found.values(), reset=one.name)
    return _retried(partial(_sync, one, is_reset=True))


@transaction.atomic
def resolve(record_pk: int, field: str, *, is_code_right: bool) -> None:
    """Give a field the code's value, or keep the stored one although the code has changed it too.

    Raises UnknownScheduleError if the schedule is no longer declared, or RuleError if its timing is invalid.
    """
    record = DeclaredSchedule.objects.select_for_update().get(pk=record_pk)
    one = by_name().get(record.name)
    schedule = locking.locked().filter(pk=record.schedule_id).first()
    if one is None or schedule is None:
        raise UnknownScheduleError(f"The schedule {record.name!r} is not declared in code.")
    code, stored = declared_values(one), stored_values(schedule)
    baseline = Values.from_json(record.declared)
    unit = unit_of(field, code, stored, baseline)
    if is_code_right:
        values = taken(as_meant(stored, schedule, record), code, unit)
        names = _to_write(schedule, stored, values)
        _update(schedule, values, names, clock.now())
        if path := path_of(links.stored_cycle()):
            raise RuleError(f"after: it would start after itself: {path}")
    record.declared = taken(baseline, code, unit).as_json()
    record.save()


def may_be_declared(record: DeclaredSchedule) -> bool:
    """Whether its job is only missing because its module cannot be imported at the moment."""
    return is_import_failing(str(Values.from_json(record.declared).job).rpartition(".")[2])


def differences(old: Values, new: Values, names: Collection[str]) -> list[Difference]:
    """The two values of each of these fields."""
    return [_difference(old, new, name) for name in FIELDS if name in names]


def _retried(step: Callable[[], Outcome]) -> Outcome:
    """Repeat a step if another process has just created its row, or if both waited for each other's locks."""
    try:
        return step()
    except (IntegrityError, OperationalError):
        return step()


@transaction.atomic
def _sync(one: Declared, *, dry_run: bool = False, is_reset: bool = False) -> Outcome:
    record = _record(one, dry_run=dry_run)
    schedule = locking.locked().filter(pk=record.schedule_id).first()
    # A user and the code agreed that it should not exist; now the code declares it again.
    is_deleted = schedule is None and bool(record.declared) and record.orphaned_at is None
    if is_deleted and not is_reset:
        return Outcome(name=one.name, job=one.job.name, action=Action.LEAVE_DELETED)
    if schedule is None:
        return _add(one, record, dry_run=dry_run, is_reset=is_reset)
    return _merge(one, record, schedule, dry_run=dry_run, is_reset=is_reset)


def _record(one: Declared, *, dry_run: bool) -> DeclaredSchedule:
    """What is known of it, locked; a new record waits for another process that is creating it."""
    if dry_run:
        return DeclaredSchedule.objects.filter(name=one.name).first() or DeclaredSchedule(name=one.name)
    DeclaredSchedule.objects.get_or_create(name=one.name)
    return DeclaredSchedule.objects.select_for_update().get(name=one.name)


def _add(one: Declared, record: DeclaredSchedule, *, dry_run: bool, is_reset: bool) -> Outcome:
    """Create the schedule, or adopt one of its name that users have made for the same job."""
    existing = locking.locked().filter(name=one.name).first()
    if existing is None:
        return _create(one, record, dry_run=dry_run)
    is_linked = DeclaredSchedule.objects.filter(schedule=existing).exists()
    if is_linked or existing.task != one.job.task_name:
        if not dry_run and not record.declared:
            record.delete()
        return Outcome(name=one.name, job=one.job.name, action=Action.NAME_TAKEN, stored_name=existing.name)
    # It is not known which of its values are a user's decision, so they all are.
    record.schedule, record.orphaned_at = existing, None
    record.declared = Values.from_json(dict.fromkeys(FIELDS, UNKNOWN)).as_json()
    return _merge(one, record, existing, dry_run=dry_run, is_reset=is_reset)


def _create(one: Declared, record: DeclaredSchedule, *, dry_run: bool) -> Outcome:
    code = declared_values(one)
    if not dry_run:
        schedule, policy = PeriodicTask(name=one.name), SchedulePolicy()
        assign(schedule, policy, code, FIELDS)
        schedule.save()
        schedule.policy = policy
        _set_calendars(schedule, policy, code)
        chains.set_predecessors(schedule, clock.now())
        _update_policy(schedule, policy)
        ledger.sync([schedule.pk], clock.now())
        record.schedule, record.declared, record.orphaned_at = schedule, code.as_json(), None
        record.save()
        audit.log_added_schedule(schedule.pk, _AS_DECLARED)
    return Outcome(name=one.name, job=one.job.name, action=Action.CREATE, stored_name=one.name)


def _merge(
    one: Declared, record: DeclaredSchedule, schedule: PeriodicTask, *, dry_run: bool, is_reset: bool
) -> Outcome:
    stored, result = stored_values(schedule), merged(one, record, schedule)
    code = declared_values(one)
    if is_reset:
        result = merge(code=code, stored=code, baseline=code)
    names = _to_write(schedule, stored, result.values)
    is_revived = record.orphaned_at is not None
    changes = differences(stored, result.values, names)
    if not dry_run:
        if names:
            before = version_of(schedule)
            _update(schedule, result.values, names, clock.now())
            audit.log_changed(schedule, _AS_DECLARED, map(_as_change, changes), before=before)
        record.declared, record.orphaned_at = result.baseline.as_json(), None
        record.save()
    return Outcome(
        name=one.name,
        job=one.job.name,
        action=Action.REVIVE if is_revived else Action.CHANGE if names else Action.NONE,
        stored_name=schedule.name,
        changes=changes,
        drift=differences(stored, code, result.fields_in(State.DRIFT)),
        edited=differences(stored, code, result.fields_in(State.EDITED)),
    )


@transaction.atomic
def _orphan(record_pk: int, *, dry_run: bool) -> Outcome | None:
    """Disable a schedule that is no longer declared; None if there is nothing to say about it."""
    record = DeclaredSchedule.objects.select_for_update().filter(pk=record_pk).first()
    if record is None or may_be_declared(record):
        return None
    schedule = locking.locked().filter(pk=record.schedule_id).first()
    if schedule is None:
        if not dry_run:
            record.delete()
        return None
    stored = stored_values(schedule)
    if record.orphaned_at is not None:
        return Outcome(
            name=record.name,
            job=formatted(stored, "job"),
            action=Action.LEAVE_ORPHANED,
            stored_name=schedule.name,
        )
    disabled = replace(stored, enabled=False)
    changes = differences(stored, disabled, changed(stored, disabled))
    if not dry_run:
        now = clock.now()
        record.orphaned_at, record.was_enabled = now, schedule.enabled
        record.save()
        if schedule.enabled:
            before, how = version_of(schedule), "since the code no longer declares it"
            _update(schedule, disabled, ["enabled"], now)
            audit.log_changed(schedule, how, map(_as_change, changes), before=before)
    return Outcome(
        name=record.name,
        job=formatted(stored, "job"),
        action=Action.ORPHAN,
        stored_name=schedule.name,
        changes=changes,
    )


def _to_write(schedule: PeriodicTask, stored: Values, values: Values) -> list[str]:
    """The fields to write. A schedule that has run its only time is enabled again only for a new time."""
    names = changed(stored, values)
    is_kept = is_spent(schedule) and "timing" not in names
    return [name for name in names if not (is_kept and name == "enabled")]


def _update(schedule: PeriodicTask, values: Values, names: Collection[str], now: datetime) -> None:
    """Write these fields, and plan the schedule anew."""
    was_enabled = schedule.enabled
    SchedulePolicy.objects.get_or_create(schedule=schedule, defaults=_defaults(schedule))
    policy = SchedulePolicy.objects.get(pk=schedule.pk)
    assign(schedule, policy, values, names)
    if _CALENDARS.intersection(names):
        _set_calendars(schedule, policy, values)
    if schedule.enabled and not was_enabled:
        # Otherwise, django-celery-beat's own scheduler would start what was due while it was disabled.
        schedule.last_run_at = None
    columns = {name: getattr(schedule, name) for name in (*_COLUMNS, *(f"{kind}_id" for kind in _TIMES))}
    PeriodicTask.objects.filter(pk=schedule.pk).update(date_changed=now, **columns)
    if "timing" in names:
        schedule.policy = policy
        chains.set_predecessors(schedule, now)
    _update_policy(schedule, policy)
    # Notifies django-celery-beat's own scheduler, in case it is the one in use.
    PeriodicTasks.update_changed()
    ledger.sync([schedule.pk], now)


def _with_known_calendars(found: list[Declared]) -> list[Declared]:
    """The same schedules. Raises MissingCalendarError if one names a calendar that does not exist."""
    known = Calendar.objects.values_list("name", flat=True)
    texts = [
        f"schedule {one.name!r} of job {one.job.name}: calendars: there is no calendar {name!r}. Add it in "
        "the admin or to CALENDARS, or correct the name."
        for name, one in (missing_calendars(known) if naming_calendars() else {}).items()
    ]
    if texts:
        raise MissingCalendarError("; ".join(map(escaped, texts)))
    return found


def _with_known_names(found: list[Declared]) -> list[Declared]:
    """The same schedules. Raises DeclarationError if one names others that do not exist, or a cycle."""
    _with_known_calendars(found)
    chains.check_predecessors(found)
    chains.check_cycles(found)
    return found


def _set_calendars(schedule: PeriodicTask, policy: SchedulePolicy, values: Values) -> None:
    """Store which calendars the schedule uses, and set the policy's copy of them."""
    by_name = Calendar.objects.in_bulk([*values.not_on, *values.only_on], field_name="name")
    not_on, only_on = (
        [by_name[name] for name in names if name in by_name] for names in (values.not_on, values.only_on)
    )
    calendars.assign(schedule.pk, not_on, only_on)
    policy.calendars = calendars.copy_of(not_on, only_on, policy.left_out)


def _defaults(schedule: PeriodicTask) -> dict[str, object]:
    policy = SchedulePolicy.of(schedule)
    return {"dialect": policy.dialect, "anchor": policy.anchor}


def _update_policy(schedule: PeriodicTask, policy: SchedulePolicy) -> None:
    # Sends no signal: the ledger must not see the new policy before the new timing.
    values = {name: getattr(policy, name) for name in _POLICY_COLUMNS}
    SchedulePolicy.objects.filter(pk=schedule.pk).update(**values)


def _as_change(one: Difference) -> audit.Change:
    return one.label, one.stored, one.code


def _difference(old: Values, new: Values, name: str) -> Difference:
    before, after = formatted(old, name), formatted(new, name)
    # Secrets are masked alike.
    return Difference(field=name, stored=before, code=f"{after} (changed)" if before == after else after)
