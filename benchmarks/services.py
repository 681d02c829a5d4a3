"""The services that are compared, with real processes, and what a process uses of the CPU."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.integration.service import PROJ, ROOT, Project, Service, service
from tests.waiting import wait_until

OURS, PEER, PEER_WITH_RESULTS = "here", "peer", "peer with results"
"""This service; stock beat and bare tasks; the same with django-celery-results."""
_PEER_PROJECT = Project(celery_app="benchmarks.peer", manage=("-m", "benchmarks.peer"))
_SETTINGS = {
    OURS: "benchmarks.settings",
    PEER: "benchmarks.peer.settings",
    PEER_WITH_RESULTS: "benchmarks.peer.results_settings",
}


@contextmanager
def started(kind: str, **variables: str) -> Iterator[Service]:
    """One of the kinds of service, with a Redis server of its own and a new database (``DATABASE_URL``)."""
    project = PROJ if kind == OURS else _PEER_PROJECT
    # Installed code is compiled once. Where nothing is to be written, each process would compile it again.
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}
    variables = {"DJANGO_SETTINGS_MODULE": _SETTINGS[kind], "LOG_LEVEL": "ERROR", **compiled, **variables}
    # The app that is only in the settings of the benchmarks has no tables.
    tables = {"DJANGO_SETTINGS_MODULE": "proj.settings"} if kind == OURS else {}
    with service(project, **variables | tables) as made:
        made.variables |= variables
        yield made


@contextmanager
def side_by_side(*kinds: str, **variables: str) -> Iterator[list[Service]]:
    """Several kinds at the same time, so that a disturbance affects all."""
    with ExitStack() as stack:
        yield [stack.enter_context(started(kind, **variables)) for kind in kinds]


def cpu_seconds(pid: int) -> float:
    """What a process and all that it has started have used so far."""
    process, used = psutil.Process(pid), 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used += _cpu_seconds_of(each)
    return used


def _cpu_seconds_of(process: psutil.Process) -> float:
    """By its own clock, if the system has one for each process: the other one ticks every 10 ms."""
    clock = ctypes.c_int()
    with suppress(AttributeError, OSError):
        if ctypes.CDLL(None).clock_getcpuclockid(process.pid, ctypes.byref(clock)) == 0:
            return time.clock_gettime(clock.value)
    times = process.cpu_times()
    return float(times.user + times.system)


def cpu_of_command(running: Service, *arguments: str, stdout: Path | None = None) -> float:
    """What a command and those that it waits for use until its end. Raises RuntimeError if it fails."""
    with Path(stdout or os.devnull).open("wb") as output:
        process = subprocess.Popen(
            (sys.executable, *arguments), cwd=ROOT, env=running.environment, stdout=output
        )
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed with {process.returncode}")
    return used.ru_utime + used.ru_stime


def cpu_until_logged(running: Service, name: str, text: str) -> float:
    """What a process that has just been started uses until its log contains the text."""
    process = running.processes[name]

    def has_logged() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{name} has ended: {running.log(name)}")
        return text in running.log(name)

    wait_until(has_logged, what=f"{name} logs {text}")
    return cpu_seconds(process.pid)


def output_of(running: Service, module: str, *arguments: str) -> str:
    """What a module prints that is executed within the service; its errors go to stderr."""
    command: Sequence[str] = (sys.executable, "-m", module, *arguments)
    done = subprocess.run(
        command, cwd=ROOT, env=running.environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout
