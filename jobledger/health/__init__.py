"""The health of the service, part by part, and what to do about each problem.

``read`` runs a fixed number of queries, all of them bounded, and waits for the broker for at most half a
second.
"""

import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.db import connection
from django.db.models import Count, Max, Q
from kombu.exceptions import ChannelError, ConnectionError, OperationalError  # noqa: A004 - RabbitMQ's

from jobledger import brokers, formats
from jobledger.health import alerts, clocks, occupied, pruning
from jobledger.health.problem import PartName, Problem, ProblemKind, listed
from jobledger.models import DeadLetter, NextSlot, ProcessKind, ServiceProcess
from jobledger.models.process import queue_names
from jobledger.retention import ledger_size
from jobledger.runs.service import queues
from jobledger.runs.service.code_version import code_version
from jobledger.runs.service.presence import ABSENT_AFTER
from jobledger.runs.service.queues import QueueUse, Uses
from jobledger.schedules import pausing
from jobledger.schedules.due import ledger

_BROKER_SECONDS = 0.5
_REDIS_TIMEOUTS = {"socket_timeout": _BROKER_SECONDS, "socket_connect_timeout": _BROKER_SECONDS}
LATE_AFTER = timedelta(seconds=20)
"""If a schedule has been due for this long, beat is late, even if it reports that it is alive."""
RECENT = timedelta(hours=24)
MAX_PROCESSES = 200
MAX_TEXTS = 5
"""How much a part's text lists."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the service."""

    name: PartName
    is_healthy: bool
    """Whether it has no problems."""
    text: str
    is_mild: bool
    """Whether all its problems, if any, are mild."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """The health of the whole service at a given time."""

    parts: Sequence[Part]
    problems: Sequence[Problem]
    """In the order in which they should be fixed."""
    last_tick: datetime | None
    """When a beat last reported, which it does about every ten seconds."""
    last_message: datetime | None
    """When a worker last took a message from a queue, as far as is known."""
    queues: Mapping[str, bool]
    """The queues that queued runs or enabled schedules use, and whether a running worker reads each."""


def read(now: datetime, *, server_time: datetime | None = None) -> Health:
    """Check everything.

    ``now`` is the database's time; ``server_time`` is this web server's, if the two are to be compared.
    """
    known = list(ServiceProcess.objects.order_by("-seen_at")[:MAX_PROCESSES])
    present = [each for each in known if each.seen_at >= now - ABSENT_AFTER and each.ended_at is None]
    schedules = NextSlot.objects.aggregate(
        enabled=Count("pk"), broken=Count("pk", filter=~Q(broken="")), handled_until=Max("handled_until")
    )
    broker, pruned, uses = list(broker_problems()), ledger_size.last_pruned(), queues.uses(now)
    broker_name = brokers.name_of(current_app.conf.broker_url)
    able = [worker for worker in _of_kind(present, ProcessKind.WORKER) if not _is_idle(worker)]
    read_queues = _read_by(able, uses)
    problems = [
        *_pause(now),
        *broker,
        *_beat(known, present, now),
        *_workers(known, present, now),
        *(_queues(uses, read_queues, able, now) if _of_kind(present, ProcessKind.WORKER) else ()),
        *_other_code(present, PartName.BEAT, ProcessKind.BEAT),
        *_other_code(present, PartName.WORKERS, ProcessKind.WORKER),
        *clocks.set_back(schedules["handled_until"], now),
        *clocks.offsets(present, server_time - now if server_time else timedelta(0)),
        *_broken_schedules(schedules["broken"]),
        *_dead_letters(now),
        *alerts.problems(now),
        *pruning.problems(pruned, now),
    ]
    texts = {
        PartName.BEAT: _count(present, ProcessKind.BEAT),
        PartName.WORKERS: _count(present, ProcessKind.WORKER) + _capacity(present),
        PartName.BROKER: f"available ({broker_name})" if not broker else "",
        PartName.DATABASE: f"available ({connection.display_name}), {pruning.size(pruned, now)}",
        PartName.SCHEDULES: f"{schedules['enabled']} enabled",
        PartName.ALERTS: alerts.recipients(),
    }
    return Health(
        parts=[_part(name, text, problems) for name, text in texts.items()],
        problems=problems,
        last_tick=max((beat.seen_at for beat in _of_kind(known, ProcessKind.BEAT)), default=None),
        last_message=max((each.message_at for each in known if each.message_at), default=None),
        queues={name: name in read_queues for name in sorted(uses.queues)},
    )


def _part(name: PartName, text: str, problems: Sequence[Problem]) -> Part:
    own = [problem for problem in problems if problem.part is name]
    texts = list(filter(None, dict.fromkeys([text, *(problem.short for problem in own)])))
    if len(texts) > MAX_TEXTS:
        texts[MAX_TEXTS:] = [f"and {len(texts) - MAX_TEXTS} more"]
    return Part(
        name=name,
        is_healthy=not own,
        text=", ".join(texts),
        is_mild=all(problem.is_mild for problem in own),
    )


def _pause(now: datetime) -> Iterator[Problem]:
    pause = pausing.active_pauses(None, now).order_by("since").first()
    if pause is None:
        return
    yield Problem(
        kind=ProblemKind.PAUSED,
        part=PartName.SCHEDULES,
        text=f"The whole service is paused {pausing.terms_of(pause, now)}",
        short="paused",
        advice=f"Schedules have started nothing since {pausing.since_of(pause, now)}, and will not until the "
        "service is resumed. Jobs can still be run from the admin and the command line. "
        f"{pausing.exemptions()}".rstrip(),
    )


def broker_problems() -> Iterator[Problem]:
    """Whether the broker is available. Needs no database."""
    # Imported here, because it takes a fifth of the start-up time of any command, and is only needed here.
    from redis.exceptions import RedisError

    url = current_app.conf.broker_url
    timeouts: dict[str, Any] = {"transport_options": _REDIS_TIMEOUTS}
    if not brokers.uses_redis(url):
        timeouts = {"connect_timeout": _BROKER_SECONDS}
    try:
        with current_app.connection_for_write(**timeouts) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OperationalError, RedisError, OSError, ConnectionError, ChannelError) as error:
        yield Problem(
            kind=ProblemKind.NO_BROKER,
            part=PartName.BROKER,
            text=f"{brokers.name_of(url)} is not available: {str(error).rstrip('.')}.",
            short="not available",
            advice=f"{_how_to_reach_broker(str(error))} In the meantime, due runs are recorded; they "
            "start when it is back.",
        )


def _how_to_reach_broker(error: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in error:
        return "Correct the host name in the broker's URL, or trust the CA that signed its certificate."
    return "Start it, or correct the broker's URL."


def _beat(
    known: Sequence[ServiceProcess], present: Sequence[ServiceProcess], now: datetime
) -> Iterator[Problem]:
    earliest = ledger.next_due_at()
    is_late = earliest is not None and earliest < now - LATE_AFTER
    since = (
        f"; a run has been due for {formats.duration(now - earliest, parts=1)}"
        if earliest and is_late
        else ""
    )
    if not _of_kind(present, ProcessKind.BEAT):
        yield Problem(
            kind=ProblemKind.NO_BEAT,
            part=PartName.BEAT,
            text=f"Beat is not running: {_last_seen(known, ProcessKind.BEAT, now)}{since}.",
            short="not running",
            advice="Start it, and check its log to see why it stopped. Until then, schedules start nothing; "
            "what happens to missed runs afterwards depends on each schedule's settings.",
        )
    elif since:
        yield Problem(
            kind=ProblemKind.LATE_BEAT,
            part=PartName.BEAT,
            text=f"Beat is running, but late{since}.",
            short="late",
            advice="Check its log for the cause, and restart it if it hangs.",
        )


def _workers(
    known: Sequence[ServiceProcess], present: Sequence[ServiceProcess], now: datetime
) -> Iterator[Problem]:
    workers = _of_kind(present, ProcessKind.WORKER)
    if not workers:
        yield Problem(
            kind=ProblemKind.NO_WORKER,
            part=PartName.WORKERS,
            text=f"No worker is running: {_last_seen(known, ProcessKind.WORKER, now)}.",
            short="none running",
            advice="Start one, and check its log to see why it stopped. Until then, runs stay queued.",
        )
    yield from _idle([worker for worker in workers if _is_idle(worker)])


def _queues(
    uses: Uses, read_queues: Container[str], able: Sequence[ServiceProcess], now: datetime
) -> Iterator[Problem]:
    yield from (_unread(use) for name, use in sorted(uses.queues.items()) if name not in read_queues)
    waiting = [use for name, use in sorted(uses.queues.items()) if use.waiting and name in read_queues]
    yield from occupied.late_runs(waiting, able, now)
    yield from _untaken(uses.waiting_elsewhere)


def _read_by(able: Sequence[ServiceProcess], uses: Uses) -> set[str]:
    # Workers of an earlier version do not report their queues: they might read any.
    read = set(uses.queues) if any(not worker.queues for worker in able) else set[str]()
    return read.union(*(queue_names(worker.queues) for worker in able))


def _is_idle(worker: ServiceProcess) -> bool:
    reads_nothing = not worker.queues and worker.capacity is not None
    return worker.capacity == 0 or reads_nothing


def _idle(workers: Sequence[ServiceProcess]) -> Iterator[Problem]:
    if not workers:
        return
    one = len(workers) == 1
    yield Problem(
        kind=ProblemKind.IDLE_WORKERS,
        part=PartName.WORKERS,
        text=f"{'A worker does' if one else f'{len(workers)} workers do'} not accept jobs, because of a "
        f"remote control command: {_named(workers)}.",
        short=f"{len(workers)} not accepting jobs",
        advice=f"Restart {'it' if one else 'them'}. If none of you sent the command, find out who else can "
        f"write to {brokers.name_of(current_app.conf.broker_url)}.",
    )


def _unread(use: QueueUse) -> Problem:
    used_by = [
        text
        for count, text in (
            (use.runs, f"{_number(use.runs, 'queued run')} {'waits' if use.runs == 1 else 'wait'} in it"),
            # Not by name: not everyone who may see this may view schedules.
            (
                use.schedules,
                f"{_number(use.schedules, 'enabled schedule')} {'uses' if use.schedules == 1 else 'use'} it",
            ),
        )
        if count
    ]
    change = ", or change the queue of the schedules that use it" if use.is_named else ""
    stay = " Runs that are already queued stay in it." if use.is_named and use.runs else ""
    return Problem(
        kind=ProblemKind.UNREAD_QUEUE,
        part=PartName.WORKERS,
        text=f"No running worker reads the queue “{use.name}”: {' and '.join(used_by)}.",
        short=f"no worker reads {use.name}",
        advice=f"Start a worker with -Q {shlex.quote(use.name)}{change}.{stay}",
        queue=use.name if use.is_named else "",
        schedule=use.only_schedule,
        schedules=use.schedules,
        queued_runs=use.runs,
    )


def _untaken(waiting: int) -> Iterator[Problem]:
    if not waiting:
        return
    runs, are, them = _number(waiting, "queued run"), *(("is", "it") if waiting == 1 else ("are", "them"))
    yield Problem(
        kind=ProblemKind.UNTAKEN_RUNS,
        part=PartName.WORKERS,
        text=f"{runs} {are} routed by exchange or routing key; no worker has taken {them}.",
        short=f"{runs} not taken",
        advice="Check that the exchange and the routing key lead to a queue that a worker reads. If "
        f"not, correct the schedule and cancel {them}: queued runs keep their routing.",
    )


def _other_code(present: Sequence[ServiceProcess], part: PartName, kind: ProcessKind) -> Iterator[Problem]:
    here = code_version()
    others = [process for process in _of_kind(present, kind) if process.version != here]
    if not others:
        return
    one = len(others) == 1
    yield Problem(
        kind=ProblemKind.OTHER_CODE,
        part=part,
        text=f"{'A' if one else len(others)} running {kind.label}{'' if one else 's'} "
        f"{'runs' if one else 'run'} different code than this web server ({here}): {_with_versions(others)}.",
        short="different code",
        advice="Restart the processes that were started before the last deployment. Until then, jobs may "
        "differ from what the admin shows.",
    )


def _with_versions(processes: Sequence[ServiceProcess]) -> str:
    return listed([f"{each.name} ({each.version or 'an earlier version'})" for each in processes])


def _broken_schedules(count: int) -> Iterator[Problem]:
    if not count:
        return
    broken = NextSlot.objects.exclude(broken="").select_related("schedule").order_by("pk")
    first = broken.first() if count == 1 else None
    what = f"The schedule “{first.schedule.name}” is" if first else f"{count} schedules are"
    why = f": {first.broken}" if first else ""
    yield Problem(
        kind=ProblemKind.BROKEN_SCHEDULES,
        part=PartName.SCHEDULES,
        text=f"{what} broken and {'starts' if first else 'start'} nothing{why}.",
        short=f"{count} broken",
        advice=f"Fix {'it' if first else 'them'}, or disable {'it' if first else 'them'}.",
        schedule=(first.pk, first.schedule.name) if first else None,
    )


def _dead_letters(now: datetime) -> Iterator[Problem]:
    letters = DeadLetter.objects.filter(received_at__gte=now - RECENT)
    newest = letters.first()
    if newest is None:
        return
    count = letters.count()
    yield Problem(
        kind=ProblemKind.DEAD_LETTERS,
        part=PartName.BROKER,
        text=f"Workers could not process {_number(count, 'message')} in the last 24 hours. "
        f"{'It is' if count == 1 else 'The newest is'} {newest.summary}",
        short=_number(count, "dead letter"),
        advice="Each is recorded with the reason. If your project did not send them, find out who else can "
        f"write to {brokers.name_of(current_app.conf.broker_url)}.",
    )


def _of_kind(processes: Sequence[ServiceProcess], kind: ProcessKind) -> list[ServiceProcess]:
    return [process for process in processes if process.kind == kind]


def _count(present: Sequence[ServiceProcess], kind: ProcessKind) -> str:
    found = _of_kind(present, kind)
    return f"{len(found)} running ({_named(found)})" if found else ""


def _named(processes: Sequence[ServiceProcess]) -> str:
    return listed(sorted(process.name for process in processes))


def _capacity(present: Sequence[ServiceProcess]) -> str:
    """How many jobs the workers can run at the same time, without those that consume no queue."""
    reporting = [worker for worker in _of_kind(present, ProcessKind.WORKER) if worker.capacity is not None]
    count = sum(worker.capacity or 0 for worker in reporting if worker.queues)
    return f", {_number(count, 'job')} at a time" if reporting else ""


def _last_seen(known: Sequence[ServiceProcess], kind: ProcessKind, now: datetime) -> str:
    last = next(iter(_of_kind(known, kind)), None)
    if last is None:
        return "none has been seen yet"
    if last.ended_at:
        return f"{last.name} was stopped {formats.relative(last.ended_at, now)}"
    return f"{last.name} was last seen {formats.relative(last.seen_at, now)}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
