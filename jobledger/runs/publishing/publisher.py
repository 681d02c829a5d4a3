"""Publishes the messages of queued runs to the broker, in batches, until workers have claimed the runs.

A process that is about to publish runs first moves their ``publish_after`` on by a grace period. Others leave
them alone until then, and publish them if this process has not. Published runs are published again at
growing intervals until a worker claims them, unless they are ``in_line``. So messages that Redis lost are
replaced, and a long queue is not flooded with copies.
"""

import json
import traceback
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from celery import current_app
from django.db import Error, transaction
from django.db.models import F, Q, QuerySet
from django_celery_beat.models import PeriodicTask
from kombu import Producer
from kombu.exceptions import BatchPublishError, EncodeError, OperationalError  # type: ignore[attr-defined]  # stubs of kombu 5.6

from jobledger import brokers, clock
from jobledger.alerts import recording
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.jobs import json_text, registry, secrets
from jobledger.jobs.json_text import readable
from jobledger.models import Reason, Run, Status, Trigger, Why
from jobledger.models.states import MAX_COUNT
from jobledger.runs import limits, ordinary_tasks
from jobledger.runs.elsewhere import awaiting
from jobledger.runs.publishing import delivery
from jobledger.runs.publishing.in_line import Line
from jobledger.runs.publishing.intervals import GRACE_PERIOD, publish_interval
from jobledger.tracing import context

logger = line_logger(__name__)

BATCH = 1000
CONFIRM_SECONDS = 10
"""How long RabbitMQ may take to accept a message."""
MAX_REPR_LENGTH = 1024
"""Limits the options in Celery's events and logs, as Celery does by default."""

ENVELOPE_BYTES = 2048
"""An allowance for what Celery and kombu add to a message: 843 bytes if all names are short."""
# kombu counts KeyError among the broker's errors, and Celery raises one for a queue that does not exist.
_ERRORS_OF_VALUES = (TypeError, ValueError, LookupError, EncodeError)


class BrokerDownError(Exception):
    """The broker did not accept a batch of messages. Their runs stay queued and are published again."""


def publish(runs: Sequence[Run]) -> None:
    """Send the runs' messages to the broker, and record on each run that it was published.

    Raises BrokerDownError if the broker did not accept all of them; any that arrived anyway are harmless,
    because a run can only be claimed once. A run whose message cannot be created fails. Jobs that this
    process does not know are left to processes with newer code.
    """
    if sent := send(runs):
        mark_published(sent)


def send(runs: Sequence[Run]) -> list[Run]:
    """The first half of ``publish``; returns the runs whose messages were sent.

    If they are not marked within ``GRACE_PERIOD``, they may be published once more.
    """
    known = [run for run in runs if is_job(run) or "." in run.job]  # ordinary tasks have dotted names
    awaiting.expect(known)
    return _send_all(known) if known else []


def mark_published(published: Sequence[Run]) -> None:
    """Set when the runs are published again, but only for those that have not changed in the meantime.

    A worker may have claimed a run by now; that attempt may even have ended, and the next one be waiting for
    its own time. The run of an ordinary task that no worker of this project knows is ``sent`` from now on.
    """
    now = clock.now()
    groups: defaultdict[tuple[int, datetime | None], list[UUID]] = defaultdict(list)
    for run in published:
        groups[run.publish_count, run.publish_after].append(run.pk)
    for (count, publish_after), pks in groups.items():
        taken = Run.objects.filter(pk__in=pks).still_to_publish(publish_after)
        more = min(count + 1, MAX_COUNT)
        taken.update(publish_count=more, publish_after=now + publish_interval(more))
    awaiting.sent([run for run in published if not is_job(run)], now)


def _await_workers(runs: Sequence[Run], now: datetime) -> None:
    """Look again later whether the ordinary tasks were begun, unless that has been so for too long.

    They are never sent again: unlike that of a job, a second message of theirs would be executed, too.
    """
    silent = [run.pk for run in runs if awaiting.sent_at(run) <= now - awaiting.MAX_SILENCE]
    awaiting.give_up(silent, Why.of(Reason.NO_RESULT, within_seconds=awaiting.MAX_SILENCE), now)
    for run in runs:
        queued = Run.objects.filter(pk=run.pk).still_to_publish(run.publish_after)
        count = min(run.publish_count + 1, MAX_COUNT)
        queued.update(publish_count=count, publish_after=now + publish_interval(count))


def try_to_publish(runs: Sequence[Run]) -> None:
    """Publish the runs; if the broker is down, log that and leave them to beat."""
    try:
        publish(runs)
    except BrokerDownError as error:
        count = f"{len(runs)} runs stay" if len(runs) != 1 else "1 run stays"
        logger.warning("%s queued until the broker is available: %s", count, error)


def publish_due(now: datetime, line: Line | None = None) -> int:
    """Publish, or publish again, a batch of the queued runs that are due; returns how many were due.

    ``line`` is what this process remembers from batch to batch. Raises BrokerDownError.
    """
    due = _take_due(now, line or Line())
    sent = [run for run in due.taken if run.publish_count and not is_job(run)]
    _await_workers(sent, now)
    others = set(sent)
    publish([run for run in due.taken if run not in others])
    return due.count


def postpone(run_id: UUID, now: datetime) -> None:
    """If the run may not start yet, have it published again when it may.

    Its message was a copy of an earlier one, or its publisher's clock is ahead.
    """
    early = Run.objects.filter(pk=run_id, start_after__gt=now).in_state(Status.QUEUED)
    early.update(publish_after=F("start_after"))


@dataclass(frozen=True, kw_only=True)
class _Due:
    """A batch of runs that were due."""

    count: int
    taken: Sequence[Run]
    """Those that other processes leave to this one for a while; the others are still in line."""


def _take_due(now: datetime, line: Line) -> _Due:
    due = publishable().filter(publish_after__lte=now)
    if not due.exists():
        return _Due(count=0, taken=())
    taken_until = now + GRACE_PERIOD
    with transaction.atomic():
        runs = list(due.order_by("publish_after").select_for_update(skip_locked=True)[:BATCH])
        published = [run for run in runs if run.publish_count and is_job(run)]
        # At once: each update adds an entry to every index, and a long queue is looked at all the time.
        waiting = set(line.still_in_line(published, now))
        taken = [run for run in runs if run not in waiting]
        if waiting:
            _plan(waiting, line.look_again_at(now))
        _plan(taken, taken_until)
    schedules = PeriodicTask.objects.in_bulk({run.schedule_id for run in taken if run.schedule_id})
    for run in taken:
        run.publish_after, run.schedule = taken_until, schedules.get(run.schedule_id)
    return _Due(count=len(runs), taken=taken)


def _plan(runs: Collection[Run], publish_after: datetime) -> None:
    """Have those that are still queued published at this time, or see then whether they are in line."""
    if runs:
        queued = Run.objects.filter(pk__in=[run.pk for run in runs]).in_state(Status.QUEUED)
        queued.update(publish_after=publish_after)


def publishable() -> QuerySet[Run]:
    """The queued runs of jobs that this process knows, and of ordinary tasks, whose names are dotted.

    All others are left to processes with other code.
    """
    return Run.objects.to_publish().filter(Q(job__in=registry.all_jobs()) | Q(job__contains="."))


def _send_all(runs: Sequence[Run]) -> list[Run]:
    """Send the runs' messages; returns the runs whose messages were sent."""
    try:
        with current_app.producer_or_acquire() as producer:
            try:
                with producer.batch():
                    return [run for run in runs if _try_send(run, producer)]
            except _broker_errors() as error:
                if not (delivery.refuses_one_message(error) or _may_reconnect(error, producer)):
                    raise
            # One by one, to find out which message it is. The others may arrive twice, which is harmless.
            return [run for run in runs if _try_send(run, producer)]
    except _broker_errors() as error:
        cause = error.__cause__ or error
        raise BrokerDownError(f"{type(cause).__name__}: {cause}") from error


def _may_reconnect(error: BaseException, producer: Producer) -> bool:
    """Whether to try once more, because a kept connection may have ended long ago.

    kombu's client for Redis does that itself. A RabbitMQ that hangs is not to be waited for twice.
    """
    if not brokers.uses_rabbitmq(current_app.conf.broker_url):
        return False
    _disconnect(producer)
    return not isinstance(error, TimeoutError)


def _disconnect(producer: Producer) -> None:
    """Abandon the connection, without waiting for the broker to agree; the next message opens another."""
    connection = producer.connection
    if connection is not None:
        connection.collect()
        producer.revive(connection)  # type: ignore[arg-type]  # the stubs know channels only


def _try_send(run: Run, producer: Producer) -> bool:
    """Send the run's message. If it cannot be created, or the broker rejects it alone, the run fails."""
    try:
        with context.restored(context.of(run.trace_context)):
            _send(run, producer)
    except Exception as error:  # noqa: BLE001 - what concerns all runs is raised again
        _fail_for(error, run, producer)
        return False
    return True


def _fail_for(error: Exception, run: Run, producer: Producer) -> None:
    """Fail the run because of what is wrong with it: invalid values must not stop other runs.

    Raises the error again if it is the broker's or the database's, and concerns all of them.
    """
    if isinstance(error, delivery.DeliveryError):
        _fail(run, str(error))
    elif isinstance(error, _broker_errors()) and not isinstance(error, _ERRORS_OF_VALUES):
        if not delivery.refuses_one_message(error):
            raise error
        if brokers.uses_rabbitmq(current_app.conf.broker_url):
            _disconnect(producer)  # it has closed the channel
        _fail(run, f"The broker rejected the message: {error}")
    elif isinstance(error, Error):
        raise error
    else:
        _fail(run, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def _fail(run: Run, error: str, trace: str = "") -> None:
    fail(run, error, trace, why=Why.of(Reason.NO_MESSAGE))


def fail(run: Run, error: str, trace: str = "", *, why: Why) -> bool:
    """Fail a queued run that cannot start; returns False if it is no longer queued."""
    # Errors about arguments quote them, and so do their tracebacks.
    error, trace = (
        secrets.without_secrets(run.job, run.options, each, args=run.args) for each in (error, trace)
    )
    logger.warning("Run %s of %s cannot start: %s", run.pk, run.job, error)
    now = clock.now()
    ended = {
        "finished_at": now,
        "publish_after": None,
        "error": readable(error),
        "traceback": readable(trace),
    }
    with transaction.atomic():
        if not Run.objects.move(run.pk, from_status=Status.QUEUED, to=Status.FAILED, **ended, **why.columns):
            return False
        recording.run_ended(run, Status.FAILED, now)
    return True


def _send(run: Run, producer: Producer) -> None:
    job = registry.all_jobs().get(run.job)
    _check_shapes(run)
    reprs = _argument_reprs(run)
    options = {
        "retry": False,
        "timeout": CONFIRM_SECONDS,
        "headers": {**delivery.headers_of(run.schedule), **context.of(run.trace_context)},
        **delivery.validated_routing(run.routing),
    }
    _check_size([run.args, run.options], {**reprs, **options["headers"]})
    if job is None:
        if problem := ordinary_tasks.why_forbidden(run.job):
            raise delivery.DeliveryError(problem)
        # So that the worker can tell it from messages of others, and does not execute it after its deadline.
        options["headers"][delivery.RUN_HEADER] = True
        if run.look_at is not None:
            # As the task says. With `ignore_result=None`, this process would also subscribe to the result.
            options["headers"]["ignore_result"] = None
        expires = {"expires": run.start_before} if run.start_before else {}
        own = {"task_id": str(run.pk), **_time_limits(run), **expires}
        message = {"args": run.args, "kwargs": run.options, **own}
        current_app.send_task(run.job, **message, **reprs, ignore_result=True, producer=producer, **options)
        return
    # Equivalent to `send_task`, at half the cost if thousands are due at once: that also looks up settings,
    # the options of the task's decorator, and the result backend, which may be down.
    amqp = current_app.amqp
    message = amqp.create_task_message(
        str(run.pk),
        job.task_name,
        run.args,
        run.options,
        **reprs,
        # The caller of `celery call` may wait for the result, even for that of a later attempt.
        ignore_result=run.trigger != Trigger.CELERY,
        create_sent_event=current_app.conf.task_send_sent_event,
        **_time_limits(run),
    )
    options["headers"][delivery.RUN_HEADER] = run.attempt
    # Whatever the project's other tasks use: options are JSON.
    options["serializer"] = "json"
    route = amqp.router.route(options, job.task_name, run.args, run.options)
    amqp.send_task_message(producer, job.task_name, message, **route)


def _check_shapes(run: Run) -> None:
    """Raise DeliveryError if the run has values of which no message can be made."""
    for name in ("options", "args"):
        if problem := json_text.problem_with(getattr(run, name)):
            raise delivery.DeliveryError(f"its {name} cannot be used: {problem}")


def _time_limits(run: Run) -> dict[str, float]:
    """Celery's own limits, for a run whose schedule has a time limit; that of a job is known to its task.

    The soft one concerns ordinary tasks alone: jobs are ended by their own process.
    """
    if (run.time_limit, run.time_limit_grace) == (None, None):
        return {}
    own = limits.of_run(run)
    hard_limit = own.hard_limit_seconds
    if own.time_limit is None or hard_limit is None:
        return {}
    return {"soft_time_limit": own.time_limit.total_seconds(), "time_limit": hard_limit}


def _check_size(body: Any, headers: dict[str, Any]) -> None:
    """Raise DeliveryError for a message that is so large that every worker would reject it."""
    if current_app.conf.task_compression:  # the size that counts is known only once it is sent
        return
    encoded = 4 * len(json.dumps(body, default=str)) // 3  # kombu sends the body in base64
    size = encoded + len(json.dumps(headers, default=str)) + ENVELOPE_BYTES
    if size > (limit := settings.MESSAGE_LIMIT_BYTES):
        raise delivery.DeliveryError(
            f"its message would have about {size:,} bytes, but at most {limit:,} are allowed "
            "(MESSAGE_LIMIT_BYTES)"
        )


def _argument_reprs(run: Run) -> dict[str, Any]:
    """The arguments as they appear in Celery's events and logs."""
    args, options = secrets.masked_args(run.args or ()), secrets.masked(run.job, run.options)
    return {"argsrepr": repr(tuple(args))[:MAX_REPR_LENGTH], "kwargsrepr": repr(options)[:MAX_REPR_LENGTH]}


def is_job(run: Run) -> bool:
    """False for the run of an ordinary task."""
    return run.job in registry.all_jobs()


@cache
def _broker_errors() -> tuple[type[BaseException], ...]:
    connection = current_app.connection_for_write()
    return (OperationalError, BatchPublishError, *connection.connection_errors, *connection.channel_errors)
