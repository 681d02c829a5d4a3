"""Records a schedule that is due alone, which is the usual case, with few and short statements.

It is read together with all that planning needs, by one statement, which Django writes only once. What was
read is then a condition of the update that moves the schedule on to its next slot: of several beats, one
records the slot, and no edit is overwritten.

Whatever is out of the ordinary is left to ``ledger.record_due``, which does the same for any schedule, and
for any number of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from django.db import Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, Field, OuterRef, Q, Value
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.models import NextSlot, Pause, Run, SchedulePolicy
from jobledger.runs.service.code_version import code_version
from jobledger.schedules import stored_schedules
from jobledger.schedules.due import slot_runs
from jobledger.schedules.due.backlog import in_backlog
from jobledger.schedules.due.ledger import PlanCache, RecordedBatch
from jobledger.schedules.planning.planning import Plan
from jobledger.schedules.planning.verdicts import Verdict

# Stands for the time in the statement that is written once.
_NOW = datetime(2000, 1, 1, tzinfo=UTC)
_CONDITIONS = ("schedule_id", "due_at", "slot", "handled_until", "timing", "target")
"""Must not have changed since they were read."""
_MOVED = ("slot", "due_at", "handled_until", "recorded_at", "version")
_SCHEDULE = "schedule__"
# PostgreSQL plans a statement anew each time, and takes eight times as long for seven tables as for five.
_RARE = ("solar", "clocked")
_KINDS = {"crontab": CrontabSchedule, "interval": IntervalSchedule}
_MODELS: Sequence[tuple[str, Any]] = (
    ("", NextSlot),
    (_SCHEDULE, PeriodicTask),
    (f"{_SCHEDULE}policy__", SchedulePolicy),
    *((f"{_SCHEDULE}{kind}__", model) for kind, model in _KINDS.items()),
)
"""What is read together, and how it is reached from the row."""

Converters = Sequence[tuple[Callable[..., Any], Value]]


@dataclass(frozen=True, kw_only=True)
class _Statement:
    """How the schedule that is due first is read."""

    sql: str
    parameters: Sequence[Any]
    converters: Sequence[Converters]
    """For each column of the models."""


@dataclass(frozen=True, kw_only=True)
class _Due:
    """A schedule that is due, as it was read."""

    row: NextSlot
    schedule: PeriodicTask
    timing: str
    target: str
    may_be_paused: bool
    has_backlog: bool


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """What is to be written."""

    plan: Plan
    run: Run


def look_ahead(at: datetime) -> None:
    """Read and plan what is due then, to no effect but that ``record`` does the same in less time.

    By then, neither this process nor the database's has to be fetched into the processor's caches again.
    """
    try:
        if due := _read(at):
            _planned(due, at)
    except Error:
        raise
    except Exception:  # noqa: BLE001 - `record` finds it as well
        return


def record(now: datetime) -> RecordedBatch | None:
    """Record the schedule that is due first; None if that is left to ``record_due``.

    Nothing is recorded if another beat has done so in the meantime, or has locked the row.
    """
    try:
        due = _read(now)
        planned = None if due is None else _planned(due, now)
    except Error:
        raise
    except Exception:  # noqa: BLE001 - the schedule is broken, and `record_due` marks it as such
        return None
    if due is None:
        return RecordedBatch()
    if planned is None or slot_runs.may_overlap(due.schedule, planned.run.job):
        return None
    if not _save(due.row, planned.plan, planned.run, now):
        return RecordedBatch()
    return RecordedBatch(queued=[planned.run], next_due_at=planned.plan.due_at)


def _planned(due: _Due, now: datetime) -> _Planned | None:
    """The plan and its run, if it is ordinary: it records nothing but a slot that runs."""
    if not _is_ordinary(due):
        return None
    target = slot_runs.target_of(due.schedule)
    plan = PlanCache(now).plan(due.schedule, handled_until=due.row.handled_until, pauses=())
    if [each.verdict for each in plan.records] != [Verdict.RUN] or plan.records[0].moved_to:
        return None
    return _Planned(plan=plan, run=slot_runs.run_of(due.schedule, target, plan.records[0], now=now))


def _is_ordinary(due: _Due) -> bool:
    """Whether nothing has changed since the row was computed, and no other scheduler has run it since."""
    row, schedule = due.row, due.schedule
    if schedule.policy.after:
        return False
    is_rare = schedule.solar_id is not None or schedule.clocked_id is not None
    if not schedule.enabled or schedule.one_off or due.may_be_paused or due.has_backlog or is_rare:
        return False
    ran_elsewhere = schedule.last_run_at is not None and (
        row.recorded_at is None or schedule.last_run_at > row.recorded_at
    )
    return (due.timing, due.target) == (row.timing, row.target) and not ran_elsewhere


def _save(row: NextSlot, plan: Plan, run: Run, now: datetime) -> bool:
    """Write the run and the next slot, unless the row has changed since it was read, or is locked."""
    connection = connections[router.db_for_write(NextSlot)]
    statements = _save_statements(connection)
    new = (plan.next_slot, plan.due_at, plan.handled_until, now, code_version())
    moved = _stored(NextSlot, _MOVED, new, connection)
    moved += _stored(NextSlot, _CONDITIONS, [getattr(row, name) for name in _CONDITIONS], connection)
    names = [field.attname for field in Run._meta.concrete_fields]
    inserted = _stored(Run, names, [getattr(run, name) for name in names], connection)
    with connection.cursor() as cursor:
        if len(statements) == 1:
            cursor.execute(statements[0], [*moved, *inserted])
            return bool(cursor.rowcount == 1)
        with transaction.atomic():
            cursor.execute(statements[0], moved)
            if cursor.rowcount != 1:
                return False
            cursor.execute(statements[1], inserted)
    return True


def _stored(
    model: Any, names: Sequence[str], values: Sequence[Any], connection: BaseDatabaseWrapper
) -> list[Any]:
    """The values as Django would send them."""
    fields = {field.attname: field for field in model._meta.concrete_fields}
    return [
        fields[name].get_db_prep_save(value, connection) for name, value in zip(names, values, strict=True)
    ]


@lru_cache(maxsize=2)
def _save_statements(connection: BaseDatabaseWrapper) -> Sequence[str]:
    """One statement, if the database can do both in one, or two."""
    quoted = connection.ops.quote_name
    table, runs = quoted(NextSlot._meta.db_table), quoted(Run._meta.db_table)
    as_read = " AND ".join(f"{quoted(name)} = %s" for name in _CONDITIONS)
    is_unlocked = connection.features.has_select_for_update_skip_locked
    lock = connection.ops.for_update_sql(skip_locked=True) if is_unlocked else ""
    moved = ", ".join(f"{quoted(name)} = %s" for name in _MOVED)
    key = quoted("schedule_id")
    free = f"SELECT {key} FROM {table} WHERE {as_read} {lock}"  # noqa: S608 - names of columns
    update = f"UPDATE {table} SET {moved} WHERE {key} IN ({free})"  # noqa: S608 - as above
    columns = [quoted(str(field.column)) for field in Run._meta.concrete_fields]
    insert = f"INSERT INTO {runs} ({', '.join(columns)})"
    places = ", ".join(["%s"] * len(columns))
    if connection.vendor != "postgresql":
        return update, f"{insert} VALUES ({places}) ON CONFLICT DO NOTHING"
    rows = f"SELECT {places} FROM moved ON CONFLICT DO NOTHING"  # noqa: S608 - as above
    return (f"WITH moved AS ({update} RETURNING 1) {insert} {rows}",)


def _read(now: datetime) -> _Due | None:
    connection = connections[router.db_for_write(NextSlot)]
    statement = _statement(connection)
    stored_now, marker = map(connection.ops.adapt_datetimefield_value, (now, _NOW))
    with connection.cursor() as cursor:
        parameters = [stored_now if value == marker else value for value in statement.parameters]
        cursor.execute(statement.sql, parameters)
        stored = cursor.fetchone()
    if stored is None:
        return None
    *columns, timing, target, may_be_paused, has_backlog = stored
    values = _converted(columns, statement.converters, connection)
    row, schedule, policy, *kinds = (_object(model, values, connection.alias) for _, model in _MODELS)
    # `SchedulePolicy.of` and the rules find them there.
    policy.schedule = schedule
    for kind, found in zip(_KINDS, kinds, strict=True):
        if found is not None:
            setattr(schedule, kind, found)
    schedule.timing, schedule.target = timing, target
    return _Due(
        row=row,
        schedule=schedule,
        timing=timing,
        target=target,
        may_be_paused=bool(may_be_paused),
        has_backlog=bool(has_backlog),
    )


def _converted(
    columns: Sequence[Any], converters: Sequence[Converters], connection: BaseDatabaseWrapper
) -> Iterator[Any]:
    """The values as Django would return them."""
    for value, of_column in zip(columns, converters, strict=True):
        converted = value
        for convert, expression in of_column:
            converted = convert(converted, expression, connection)
        yield converted


def _object(model: Any, values: Iterator[Any], alias: str) -> Any:
    """An object from the next values; None if there is no such row."""
    names = [field.attname for field in model._meta.concrete_fields]
    own = list(islice(values, len(names)))
    is_there = own[names.index(model._meta.pk.attname)] is not None
    return model.from_db(alias, names, own) if is_there else None


@lru_cache(maxsize=2)
def _statement(connection: BaseDatabaseWrapper) -> _Statement:
    fields = [(path, field) for path, model in _MODELS for field in model._meta.concrete_fields]
    pauses = Pause.objects.filter(
        Q(schedule=None) | Q(schedule=OuterRef("schedule")),
        Q(until=None) | Q(until__gt=OuterRef("handled_until")),
    )
    due = NextSlot.objects.filter(due_at__lte=_NOW).order_by("due_at")
    timing = stored_schedules.timing_at(_SCHEDULE, without=_RARE)
    target = stored_schedules.target_at(_SCHEDULE)
    waiting = in_backlog().filter(schedule=OuterRef("schedule"))
    found = {
        "timing_now": timing,
        "target_now": target,
        "may_be_paused": Exists(pauses),
        "has_backlog": Exists(waiting),
    }
    selected = due.annotate(**found).values_list(*(path + field.attname for path, field in fields), *found)
    sql, parameters = selected[:1].query.get_compiler(connection=connection).as_sql()
    return _Statement(
        sql=sql,
        parameters=parameters,
        converters=[_converters(field, connection) for _, field in fields],
    )


def _converters(field: "Field[Any, Any]", connection: BaseDatabaseWrapper) -> Converters:
    expression: Value = Value(None, output_field=field)
    found = (*connection.ops.get_db_converters(expression), *expression.get_db_converters(connection))
    return [(convert, expression) for convert in found]
