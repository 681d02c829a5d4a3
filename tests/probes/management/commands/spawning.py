"""A job that starts processes, in the ways that jobs do, and does not end them."""

import multiprocessing
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from jobledger import JobCommand
from jobledger.jobs.declaration import Concurrency
from tests.probes import traces

SLEEP = ["sleep", "600"]
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
)
_kept: list[Any] = []


class Command(JobCommand):
    help = "Start processes, and leave a trace of each one's id."
    concurrency = Concurrency.ALLOW
    time_limit_grace = timedelta(seconds=2)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=[])
        parser.add_argument("--methods", nargs="+", default=[], help="Use multiprocessing, in these ways.")
        parser.add_argument("--seconds", type=float, default=0.0, help="How long to go on afterwards.")
        parser.add_argument("--stubborn", action="store_true", help="Do not end when asked to.")
        parser.add_argument("--in-shell", action="store_true", help="Go on in a shell instead.")

    def handle(self, *args: Any, **options: Any) -> None:
        for kind in options["kinds"]:
            for pid in KINDS[kind]():
                traces.leave(self.run, f"{kind}={pid}")
        for method in options["methods"]:
            self.stdout.write(f"{compute(method)}")
        traces.leave(self.run, "begin")
        if options["in_shell"]:
            os.system("sleep 600; true")
        until = time.monotonic() + options["seconds"]
        while time.monotonic() < until:
            try:
                time.sleep(0.1)
            except BaseException:
                if not options["stubborn"]:
                    raise


def compute(method: str) -> list[int]:
    """Use each kind of child process that multiprocessing has, to call a function of this module."""
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=negative, args=[1])
    child.start()
    child.join()
    if child.exitcode:
        # A pool would keep replacing its processes.
        raise CommandError(f"The process has exited with {child.exitcode}.")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        executed = list(executor.map(negative, [2, 3]))
    with context.Pool(1) as pool:
        pooled = pool.map(negative, [4, 5])
    return [*executed, *pooled]


def negative(number: int) -> int:
    return -number


def _child() -> list[int]:
    return [subprocess.Popen(SLEEP).pid]


def _pipeline() -> list[int]:
    shell = subprocess.Popen("sleep 600 & echo $!; sleep 600 | cat", shell=True, stdout=subprocess.PIPE)
    assert shell.stdout
    return [shell.pid, int(shell.stdout.readline())]


def _orphan() -> list[int]:
    """A process whose parent has ended."""
    done = subprocess.run("sleep 600 >/dev/null & echo $!", shell=True, stdout=subprocess.PIPE, check=True)
    return [int(done.stdout)]


def _stubborn() -> list[int]:
    python = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert python.stdout
    python.stdout.readline()
    return [python.pid]


def _daemon() -> list[int]:
    return [subprocess.Popen(SLEEP, start_new_session=True).pid]


def _pool() -> list[int]:
    """Processes that are replaced when they end."""
    pool = multiprocessing.get_context("fork").Pool(2)
    _kept.append(pool)
    return pool.map(_own_pid, range(2), chunksize=1)


def _own_pid(number: int) -> int:
    time.sleep(0.2)
    return os.getpid()


KINDS = {
    "child": _child,
    "pipeline": _pipeline,
    "orphan": _orphan,
    "stubborn": _stubborn,
    "daemon": _daemon,
    "pool": _pool,
}
