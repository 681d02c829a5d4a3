"""A job that treats its process as if it were its own, as a job of cron's may."""

import asyncio
import builtins
import io
import os
import random
import resource
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from jobledger import JobCommand
from jobledger.jobs.declaration import Concurrency
from tests.probes import traces


class Command(JobCommand):
    help = "Change the process in one way."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--way", choices=sorted(WAYS), required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        WAYS[options["way"]]()


def _settings() -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.alarm(600)
    os.umask(0)
    os.environ.clear()
    sys.path.clear()
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    vars(builtins)["print"] = len
    sys.stdout = sys.stderr = io.StringIO()
    random.seed(1)


def _close_standard_descriptors() -> None:
    for number in range(3):
        os.close(number)


def _close_all_descriptors() -> None:
    """As daemons do when they start."""
    os.closerange(3, 1024)


def _event_loop() -> None:
    """As a greenlet does that does not finish what its loop runs."""
    asyncio._set_running_loop(asyncio.new_event_loop())


def _thread() -> None:
    threading.Thread(target=time.sleep, args=[600], name="poller", daemon=True).start()


def _powers() -> None:
    """Root could raise its limits again."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if os.getuid() == 0:
        os.setuid(65534)


def _signal_to_group() -> None:
    os.system("kill 0")
    # The signal may arrive in another thread, a moment later.
    time.sleep(600)


def _exit() -> None:
    os._exit(0)


WAYS: dict[str, Callable[[], object]] = {
    "settings": _settings,
    "standard-descriptors": _close_standard_descriptors,
    "all-descriptors": _close_all_descriptors,
    "session": os.setsid,
    "process-group": os.setpgrp,
    "signal-to-group": _signal_to_group,
    "event-loop": _event_loop,
    "thread": _thread,
    "exit": _exit,
    "powers": _powers,
}
