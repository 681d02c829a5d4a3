"""The thread in beat that delivers alerts, so that neither a job nor beat's own loop waits for a mail server.

It starts with beat (``celery beat``, also several of them) and uses database connections of its own. Each
destination is served in a thread of its own, so that one that is slow does not hold up the others. Everything
that it does may also be done by another beat at the same time.

Whether there is something to send is on beat's own agenda, which says so with ``hurry``. The same goes for
Celery's result backend, which may be slow as well: a thread of its own looks there for the ends of tasks.
"""

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, partial

from jobledger import clock
from jobledger.alerts import watching
from jobledger.alerts.sending import delivery, pings
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.outages import is_outage
from jobledger.runs import lasting_connections
from jobledger.runs.elsewhere import looking
from jobledger.runs.identity import IDENTITY
from jobledger.runs.processes.forks import close_connections, release_cursors
from jobledger.sentry import reports, sending

logger = line_logger(__name__)

MIN_PERIOD_SECONDS = 1.0
SCAN_SECONDS = 15.0
SLOW_SCAN_SECONDS = 60.0
BEAT_PING_SECONDS = 60.0
REPORT_SECONDS = 5.0
MAX_SHARE = 0.05
"""How much of the time a scan may take: with a hundred thousand late runs, that is many seconds."""
URGENT = ("deliveries", "pings", "reports to Sentry")
RESULTS = "results of tasks"
"""The steps that ``hurry`` is about."""
SCANS = ("queued and running runs", "schedules")
MAX_THREADS = 8
STOP_SECONDS = 5.0
"""How long a beat that stops waits for messages that are being sent."""


class Senders:
    """Threads that send, at most one for each recipient."""

    def __init__(self) -> None:
        self._threads: dict[str, threading.Thread] = {}

    def start(self, recipient: str, send: Callable[[], object]) -> None:
        """Send in a thread, unless one is sending to this recipient already, or there are too many."""
        self._threads = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
        if recipient in self._threads or len(self._threads) >= MAX_THREADS:
            return
        thread = threading.Thread(target=_send, args=[send], name=f"alerts to {recipient}", daemon=True)
        self._threads[recipient] = thread
        thread.start()

    def join(self, seconds: float) -> None:
        """Wait for all of them, but no longer than this."""
        until = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, until - time.monotonic()))


class Background:
    """What happens beside beat's own loop, each step at its own interval."""

    def __init__(self) -> None:
        # Apart, so that monitors that hang do not keep alerts from being sent.
        self._senders, self._pingers, self._reporters = Senders(), Senders(), Senders()
        self._lookers, self._looking = Senders(), looking.Looking()
        self._stopping, self._wanted = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._next_at: dict[str, float] = {}
        self._steps: Sequence[tuple[str, float, Callable[[datetime], None]]] = (
            ("deliveries", SLOW_SCAN_SECONDS, self._deliver),
            (SCANS[0], SCAN_SECONDS, watching.scan_runs),
            (SCANS[1], SLOW_SCAN_SECONDS, watching.scan_schedules),
            ("old deliveries", SLOW_SCAN_SECONDS, delivery.tidy),
            ("pings", SLOW_SCAN_SECONDS, self._ping),
            ("old pings", SLOW_SCAN_SECONDS, pings.tidy),
            ("ping of beat", BEAT_PING_SECONDS, self._ping_for_beat),
            ("reports to Sentry", REPORT_SECONDS, self._report),
            ("old reports to Sentry", SLOW_SCAN_SECONDS, sending.tidy),
            (RESULTS, SLOW_SCAN_SECONDS, self._look_for_results),
        )

    def begin(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
            self._thread.start()
            atexit.register(self.end)

    def hurry(self, steps: Sequence[str] = URGENT) -> None:
        """Do what is due at once, instead of at the next look."""
        for name in steps:
            self._next_at[name] = 0.0
        self._wanted.set()

    def end(self) -> None:
        """Stop, and give messages that are being sent a moment to arrive."""
        self._stopping.set()
        self._wanted.set()
        self._senders.join(STOP_SECONDS)
        self._pingers.join(STOP_SECONDS)
        self._reporters.join(STOP_SECONDS)

    def step(self) -> None:
        """Do what is due, each thing whatever happens to the others."""
        now = cache(clock.now)
        for name, interval, do in self._steps:
            if (began := time.monotonic()) < self._next_at.get(name, 0.0):
                continue
            self._next_at[name] = began + interval
            # Not how long it waits for the database, which may just have been down.
            used = time.thread_time()
            _guarded(lambda do=do: do(now()))  # type: ignore[misc]
            if name in SCANS:
                used = time.thread_time() - used
                self._next_at[name] = began + max(interval, used / MAX_SHARE)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wanted.wait(self._seconds_to_wait())
                self._wanted.clear()
                if not self._stopping.is_set():
                    self.step()
        finally:
            close_connections()

    def _seconds_to_wait(self) -> float:
        # Whoever wakes up more often than it has to also keeps an idle processor from sleeping.
        next_at = min((self._next_at.get(name, 0.0) for name, _, _ in self._steps), default=0.0)
        return max(MIN_PERIOD_SECONDS, next_at - time.monotonic())

    def _deliver(self, now: datetime) -> None:
        delivery.take_back()
        for pk in delivery.ready_destinations(now):
            self._senders.start(f"destination {pk}", partial(delivery.deliver, pk))

    def _ping(self, now: datetime) -> None:
        pings.note_starts(now)
        for host, due in pings.due_by_host(now).items():
            self._pingers.start(host, partial(pings.send, due))

    def _report(self, now: datetime) -> None:
        if not settings.SENTRY_DSN:
            self._next_at["reports to Sentry"] = time.monotonic() + SLOW_SCAN_SECONDS
            return
        reports.note_starts(now)
        if due := sending.due(now):
            self._reporters.start("Sentry", partial(sending.send, due))

    def _look_for_results(self, now: datetime) -> None:
        # Few services await the ends of tasks, and a thread connects to the database anew.
        if looking.is_due(now):
            self._lookers.start("the result backend", self._looking.look)

    def _ping_for_beat(self, now: datetime) -> None:
        if not settings.BEAT_PING_URL:
            return
        if pings.beat_is_alive(IDENTITY, now):
            self._pingers.start("the monitor of beat", pings.ping_for_beat)
        else:
            # Beat may have only just started: look again soon.
            self._next_at["ping of beat"] = time.monotonic() + MIN_PERIOD_SECONDS


_background = Background()


def begin() -> None:
    """Start the thread of this process, once."""
    _background.begin()


def hurry() -> None:
    """Something is due to be sent."""
    _background.hurry()


def look_for_results() -> None:
    """Ends of tasks are to be looked for in the result backend."""
    _background.hurry((RESULTS,))


def _guarded(do: Callable[[], object]) -> None:
    """Run one step. An outage of the database delays it; any other error is logged. Neither ends the rest."""
    try:
        lasting_connections.close_lost()
        do()
    except Exception as error:
        if is_outage(error):
            # Beat reports an outage once; this would be repeated every second.
            logger.debug("Alerts have to wait for the database: %s", error)
            release_cursors(error)
        else:
            logger.exception("Alerts: an unexpected error")
        # Otherwise it is kept for the next step.
        close_connections()


def _send(send: Callable[[], object]) -> None:
    """All that a sender's thread does."""
    _guarded(send)
    close_connections()
