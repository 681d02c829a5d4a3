"""Pings: tells external monitors that runs start and end, and that beat is alive.

A schedule with a ping URL sends a request when one of its runs starts, succeeds and fails, by the conventions
of Healthchecks.io: ``/start``, nothing, and ``/fail`` or the exit code, with the run's id as ``rid``. The
pings are rows, written in the transaction that ends the run, and by beat for runs that have started. Beat
sends them in its background thread, so that no run waits for a monitor. A ping that arrives late would be
misleading, so it is given up after ten minutes.

``JOBLEDGER["BEAT_PING_URL"]`` is requested once a minute while beat ticks: then somebody outside notices if
the whole machine is gone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.db.models import OuterRef, QuerySet

from jobledger import clock
from jobledger.alerts.sending.message import sentence
from jobledger.conf import settings
from jobledger.escapes import escaped, line_logger
from jobledger.models import (
    Ping,
    PingEvent,
    ProcessKind,
    Run,
    SchedulePolicy,
    ServiceProcess,
    Status,
    Trigger,
)

logger = line_logger(__name__)

TIMEOUT_SECONDS = 5.0
MAX_ERROR_LENGTH = 200
BATCH = 100
GIVE_UP_AFTER = timedelta(minutes=10)
BEAT_IS_ALIVE_FOR = timedelta(seconds=35)
SCHEMES = ("http", "https")

EVENTS: Mapping[Status, PingEvent] = {
    Status.SUCCEEDED: PingEvent.SUCCESS,
    Status.FAILED: PingEvent.FAIL,
    Status.TIMED_OUT: PingEvent.FAIL,
    Status.LOST: PingEvent.FAIL,
}


class PingError(Exception):
    """A monitor did not accept a ping; the message has no secrets."""


class UnreachableError(PingError):
    """The monitor's host did not answer, so that no other ping would arrive there either."""


def run_ended(run: Run, status: Status, now: datetime) -> None:
    """Record the pings of a run that has reached this final state."""
    event = EVENTS.get(status)
    if event is None or run.schedule_id is None or not monitored(run.schedule_id).exists():
        return
    # A start that was not accepted yet must not be told after the end.
    Ping.objects.filter(run=run.pk, event=PingEvent.START, due_at__gt=now).update(due_at=None)
    # It may have been too short for beat to notice its start.
    events = [PingEvent.START, event] if run.started_at else [event]
    _create([(run, each) for each in events], now)


def monitored(schedule_id: int | OuterRef) -> QuerySet[SchedulePolicy]:
    """The policy of the schedule, if it has an external monitor."""
    return SchedulePolicy.objects.filter(pk=schedule_id).exclude(ping_url="")


def note_starts(now: datetime) -> None:
    """Record the pings of runs that have started."""
    _create([(run, PingEvent.START) for run in unnoted_starts()[:BATCH]], now)


def unnoted_starts() -> QuerySet[Run]:
    """Running runs whose start has not been recorded as a ping, although somebody monitors their schedule."""
    running = Run.objects.filter(status=Status.RUNNING, schedule__isnull=False)
    # A monitor waits for the runs of the present.
    running = running.exclude(trigger=Trigger.BACKFILL)
    noted = Ping.objects.filter(event=PingEvent.START).values("run")
    return running.exclude(schedule__policy=None).exclude(schedule__policy__ping_url="").exclude(pk__in=noted)


def due_by_host(now: datetime) -> Mapping[str, Sequence[tuple[int, str]]]:
    """The ids of the pings to send now, in order, with their URLs, for each monitor's host."""
    found = defaultdict[str, list[tuple[int, str]]](list)
    for pk, url in Ping.objects.due(now).values_list("pk", "schedule__policy__ping_url")[: 10 * BATCH]:
        found[urlsplit(url or "").netloc].append((pk, url or ""))
    return found


def send(due: Sequence[tuple[int, str]]) -> None:
    """Send these pings of one host, in order.

    If one is not accepted, those of its URL wait; if the host does not answer, all of them do.
    """
    failed = set[str]()
    for position, (pk, url) in enumerate(due[:BATCH]):
        if url in failed or (ping := Ping.objects.claim(pk, clock.now())) is None:
            continue
        if not url:  # the schedule has no monitor any more
            Ping.objects.filter(pk=pk).update(due_at=None)
            continue
        try:
            request(address(url, ping.event, ping.run_id, ping.run.exit_code), _body(ping))
        except PingError as error:
            is_unreachable = isinstance(error, UnreachableError)
            waiting = [each for each, its_url in due[position:] if is_unreachable or its_url == url]
            _postpone(waiting, ping, str(error))
            if is_unreachable:
                return
            failed.add(url)
            continue
        Ping.objects.filter(pk=pk).update(sent_at=clock.now(), due_at=None, error="")


def tidy(now: datetime) -> None:
    """Give up what is too old to be sent, and forget what is older than a day."""
    Ping.objects.filter(due_at__isnull=False, created_at__lte=now - GIVE_UP_AFTER).update(due_at=None)
    Ping.objects.forget(now)


def address(url: str, event: str, run_id: object, exit_code: int | None) -> str:
    """The address for this event; query parameters of the URL are kept."""
    suffix = {PingEvent.START.value: "/start", PingEvent.SUCCESS.value: ""}.get(event)
    if suffix is None:
        suffix = f"/{exit_code}" if exit_code is not None and 0 < exit_code < 256 else "/fail"
    parts = urlsplit(url)
    query = f"{parts.query}&".removeprefix("&") + urlencode({"rid": str(run_id)})
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix, query=query))


def beat_is_alive(identity: str, now: datetime) -> bool:
    """Whether the beat in this process has ticked recently."""
    reported = ServiceProcess.objects.filter(kind=ProcessKind.BEAT, identity=identity, ended_at=None)
    return reported.filter(seen_at__gte=now - BEAT_IS_ALIVE_FOR).exists()


def ping_for_beat() -> None:
    """Report to the monitor of the service that beat is alive; failures are logged."""
    try:
        request(settings.BEAT_PING_URL, b"", anywhere=True)
    except PingError as error:
        logger.warning("The monitor at BEAT_PING_URL cannot be reached: %s", error)


def request(url: str, body: bytes, *, anywhere: bool = False) -> None:
    """Send a POST request. Raises PingError, or UnreachableError, unless it is accepted within seconds.

    Only the project's settings may lead ``anywhere``; a schedule's URL may not lead into a private network.
    """
    # Imported here, because only beat needs it, and it would slow down the start of any command.
    import urllib.request
    from http.client import HTTPException
    from urllib.error import HTTPError

    from jobledger.alerts.sending import public_requests

    if urlsplit(url).scheme not in SCHEMES:
        raise PingError("The ping URL is not an HTTP address.")
    try:
        message = urllib.request.Request(url, data=body, headers={"User-Agent": "jobledger"})  # noqa: S310 - see above
        opener = urllib.request.build_opener() if anywhere else public_requests.opener()
        with opener.open(message, timeout=TIMEOUT_SECONDS):
            pass
    except HTTPError as error:
        error.close()
        # The monitor chooses the text.
        raise PingError(escaped(str(error))[:MAX_ERROR_LENGTH]) from error
    except public_requests.RedirectError as error:
        raise PingError(escaped(str(error))[:MAX_ERROR_LENGTH]) from error
    except OSError as error:
        raise UnreachableError(escaped(str(error))[:MAX_ERROR_LENGTH]) from error
    except (HTTPException, ValueError) as error:
        # Errors of invalid URLs quote them.
        raise PingError(type(error).__name__) from error


def _create(events: Sequence[tuple[Run, PingEvent]], now: datetime) -> None:
    Ping.objects.bulk_create(
        [
            Ping(run_id=run.pk, schedule_id=run.schedule_id, event=event, created_at=now, due_at=now)
            for run, event in events
            if run.schedule_id is not None
        ],
        ignore_conflicts=True,
    )


def _postpone(pks: Sequence[int], failed: Ping, error: str) -> None:
    """All of them, so that a run's start is never sent after its end."""
    Ping.objects.postpone(pks, failed, error, clock.now())
    logger.warning("A monitor did not accept a ping of run %s: %s", failed.run_id, error)


def _body(ping: Ping) -> bytes:
    return b"" if ping.event == PingEvent.START else sentence(ping.run).encode()
