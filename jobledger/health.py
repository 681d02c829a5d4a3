"""Whether the service works, part by part, and each problem with what to do about it.

``read`` decides, and words it. It takes a fixed number of queries, each of them bounded, and asks the broker
for half a second at most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from celery import current_app
from django.db import connection
from django.db.models import Count, Q
from kombu.exceptions import OperationalError

from jobledger import formats
from jobledger.models import DeadLetter, NextSlot, ProcessKind, ServiceProcess
from jobledger.runs.worker import queues
from jobledger.runs.worker.code_version import code_version
from jobledger.runs.worker.presence import ABSENT_AFTER
from jobledger.runs.worker.queues import QueueUse
from jobledger.schedules import ledger, pausing

_IMPATIENT = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
LATE_AFTER = timedelta(seconds=20)
"""A run that nobody recorded for so long is late, whatever beat says of itself."""
RECENT = timedelta(hours=24)
MOST_PROCESSES = 200
MOST_NAMED = 4


class PartName(StrEnum):
    """A part of the service."""

    BEAT = "beat"
    WORKERS = "workers"
    BROKER = "Redis"
    DATABASE = "database"
    SCHEDULES = "schedules"


class ProblemKind(StrEnum):
    """What is wrong, for whoever knows where it can be fixed."""

    PAUSED = "paused"
    NO_BEAT = "no beat"
    LATE_BEAT = "late beat"
    NO_WORKER = "no worker"
    IDLE_WORKERS = "idle workers"
    NO_BROKER = "no broker"
    UNREAD_QUEUE = "unread queue"
    OTHER_CODE = "other code"
    BROKEN_SCHEDULES = "broken schedules"
    BUSY_WORKERS = "busy workers"
    DEAD_LETTERS = "dead letters"


MILD = (ProblemKind.PAUSED, ProblemKind.BUSY_WORKERS, ProblemKind.DEAD_LETTERS)
"""What somebody wanted, or what may pass by itself."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem."""

    kind: ProblemKind
    part: PartName
    text: str
    """What is wrong, as a sentence."""
    short: str
    """The same beside the part's name."""
    advice: str
    """What to do, and what happens meanwhile."""
    queue: str = ""
    """The unread queue, if schedules name it."""
    schedule: tuple[int, str] | None = None
    """The id and the name of the one schedule that it is about."""

    @property
    def is_mild(self) -> bool:
        return self.kind in MILD


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the service."""

    name: PartName
    is_healthy: bool
    """Whether there is no problem with it."""
    text: str
    is_mild: bool
    """Whether its problems, if it has any, are all mild."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """The whole service at one time."""

    parts: Sequence[Part]
    problems: Sequence[Problem]
    """In the order in which they are to be fixed."""


def read(now: datetime) -> Health:
    """Look at everything."""
    signed = list(ServiceProcess.objects.order_by("-seen_at")[:MOST_PROCESSES])
    present = [process for process in signed if process.seen_at >= now - ABSENT_AFTER]
    schedules = NextSlot.objects.aggregate(enabled=Count("pk"), broken=Count("pk", filter=~Q(broken="")))
    broker = list(_broker())
    problems = [
        *_pause(now),
        *broker,
        *_beat(signed, present, now),
        *_workers(signed, present, now),
        *_other_code(present, PartName.BEAT, ProcessKind.BEAT),
        *_other_code(present, PartName.WORKERS, ProcessKind.WORKER),
        *_broken_schedules(schedules["broken"]),
        *_dead_letters(now),
    ]
    texts = {
        PartName.BEAT: _count(present, ProcessKind.BEAT),
        PartName.WORKERS: _count(present, ProcessKind.WORKER) + _capacity(present),
        PartName.BROKER: "answers" if not broker else "",
        PartName.DATABASE: f"answers ({connection.display_name})",
        PartName.SCHEDULES: f"{schedules['enabled']} enabled",
    }
    return Health(parts=[_part(name, text, problems) for name, text in texts.items()], problems=problems)


def _part(name: PartName, text: str, problems: Sequence[Problem]) -> Part:
    own = [problem for problem in problems if problem.part is name]
    texts = dict.fromkeys([text, *(problem.short for problem in own)])
    return Part(
        name=name,
        is_healthy=not own,
        text=", ".join(filter(None, texts)),
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
        advice=f"No schedule has started anything since {pausing.since_of(pause, now)}, nor will until it is "
        "resumed. Jobs can still be run from the admin and the command line.",
    )


def _broker() -> Iterator[Problem]:
    # Importing it takes a fifth of the time in which any command starts, and only this asks Redis itself.
    from redis.exceptions import RedisError

    try:
        with current_app.connection_for_write(transport_options=_IMPATIENT) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OperationalError, RedisError, OSError) as error:
        yield Problem(
            kind=ProblemKind.NO_BROKER,
            part=PartName.BROKER,
            text=f"Redis does not answer: {str(error).rstrip('.')}.",
            short="does not answer",
            advice="Start it, or correct the broker's URL. Meanwhile due runs are recorded, and they start "
            "when it is back.",
        )


def _beat(
    signed: Sequence[ServiceProcess], present: Sequence[ServiceProcess], now: datetime
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
            text=f"Beat is not running: {_last_seen(signed, ProcessKind.BEAT, now)}{since}.",
            short="not running",
            advice="Start it, and look in its log why it ended. Until then no schedule starts anything; "
            "what becomes of missed runs afterwards is set with each schedule.",
        )
    elif since:
        yield Problem(
            kind=ProblemKind.LATE_BEAT,
            part=PartName.BEAT,
            text=f"Beat is running but late{since}.",
            short="late",
            advice="Look in its log what keeps it, and restart it if it hangs.",
        )


def _workers(
    signed: Sequence[ServiceProcess], present: Sequence[ServiceProcess], now: datetime
) -> Iterator[Problem]:
    workers = _of_kind(present, ProcessKind.WORKER)
    if not workers:
        yield Problem(
            kind=ProblemKind.NO_WORKER,
            part=PartName.WORKERS,
            text=f"No worker is running: {_last_seen(signed, ProcessKind.WORKER, now)}.",
            short="none running",
            advice="Start one, and look in its log why it ended. Until then runs stay queued.",
        )
        return
    idle = [worker for worker in workers if worker.capacity == 0 or _reads_nothing(worker)]
    yield from _idle(idle)
    uses, able = queues.uses(now), [worker for worker in workers if worker not in idle]
    # One of an earlier version does not say what it reads.
    read = set(uses) if any(not worker.queues for worker in able) else set()
    read = read.union(*(worker.queues for worker in able))
    yield from (_unread(use) for name, use in sorted(uses.items()) if name not in read)
    yield from _busy(sum(use.waiting for name, use in uses.items() if name in read))


def _reads_nothing(worker: ServiceProcess) -> bool:
    return not worker.queues and worker.capacity is not None


def _idle(workers: Sequence[ServiceProcess]) -> Iterator[Problem]:
    if not workers:
        return
    one = len(workers) == 1
    yield Problem(
        kind=ProblemKind.IDLE_WORKERS,
        part=PartName.WORKERS,
        text=f"{'A worker takes' if one else f'{len(workers)} workers take'} no jobs, since "
        f"{'it was' if one else 'they were'} told to by remote control: {_named(workers)}.",
        short=f"{len(workers)} taking nothing",
        advice=f"Restart {'it' if one else 'them'}. If that was none of you, see who can write to Redis.",
    )


def _unread(use: QueueUse) -> Problem:
    used_by = [
        text
        for count, text in (
            (use.runs, f"{_number(use.runs, 'queued run')} {'waits' if use.runs == 1 else 'wait'} in it"),
            (use.schedules, _schedules_use(use)),
        )
        if count
    ]
    change = ", or change the queue of what uses it" if use.is_named else ""
    return Problem(
        kind=ProblemKind.UNREAD_QUEUE,
        part=PartName.WORKERS,
        text=f"No running worker reads the queue “{use.name}”: {' and '.join(used_by)}.",
        short=f"none reads {use.name}",
        advice=f"Start a worker with -Q {use.name}{change}.",
        queue=use.name if use.is_named else "",
        schedule=use.only_schedule,
    )


def _schedules_use(use: QueueUse) -> str:
    if use.only_schedule:
        return f"the schedule “{use.only_schedule[1]}” uses it"
    return f"{use.schedules} enabled schedules use it"


def _busy(waiting: int) -> Iterator[Problem]:
    if not waiting:
        return
    least = f"{waiting} or more" if waiting == queues.MOST_RUNS else str(waiting)
    length = formats.duration(queues.UNCLAIMED_AFTER)
    yield Problem(
        kind=ProblemKind.BUSY_WORKERS,
        part=PartName.WORKERS,
        text=f"{least} {'run has' if waiting == 1 else 'runs have'} waited for a free worker for more than "
        f"{length}.",
        short=f"{least} runs waiting",
        advice="The workers are busy. If that lasts, raise their concurrency or start another one.",
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
        f"{'has' if one else 'have'} other code than this web server ({here}): {_with_versions(others)}.",
        short="other code",
        advice="Restart what was started before the last deployment. Until then jobs may differ from what "
        "the admin shows.",
    )


def _with_versions(processes: Sequence[ServiceProcess]) -> str:
    named = [f"{each.name} ({each.version or 'an earlier version'})" for each in processes[:MOST_NAMED]]
    return ", ".join(named) + (", …" if len(processes) > MOST_NAMED else "")


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
    count = DeadLetter.objects.filter(received_at__gte=now - RECENT).count()
    if not count:
        return
    yield Problem(
        kind=ProblemKind.DEAD_LETTERS,
        part=PartName.BROKER,
        text=f"Workers could not take in {_number(count, 'message')} in the last 24 hours.",
        short=_number(count, "dead letter"),
        advice="Each is on record with the reason. If your project did not send them, find out who else can "
        "write to Redis.",
    )


def _of_kind(processes: Sequence[ServiceProcess], kind: ProcessKind) -> list[ServiceProcess]:
    return [process for process in processes if process.kind == kind]


def _count(present: Sequence[ServiceProcess], kind: ProcessKind) -> str:
    found = _of_kind(present, kind)
    return f"{len(found)} running ({_named(found)})" if found else ""


def _named(processes: Sequence[ServiceProcess]) -> str:
    names = sorted(process.name for process in processes)
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")


def _capacity(present: Sequence[ServiceProcess]) -> str:
    """How many jobs the workers can run at a time, those that read no queue left out."""
    told = [worker for worker in _of_kind(present, ProcessKind.WORKER) if worker.capacity is not None]
    count = sum(worker.capacity or 0 for worker in told if worker.queues)
    return f", {_number(count, 'job')} at a time" if told else ""


def _last_seen(signed: Sequence[ServiceProcess], kind: ProcessKind, now: datetime) -> str:
    last = next(iter(_of_kind(signed, kind)), None)
    if last is None:
        return "none has been seen yet"
    return f"{last.name} was last seen {formats.relative(last.seen_at, now)}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
