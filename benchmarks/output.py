"""Measures what it costs to record a job's output: ``python -m benchmarks.output``. See README.md.

Each job writes without the service to ``/dev/null``; recorded as on the command line, where it also writes to
``/dev/null``; and recorded as by a worker. The database is not involved. For a silent job, the time is
measured; for the others the CPU time of the process and its subprocesses, which varies less.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from statistics import median

import django
from django.core.management.base import OutputWrapper

LINE = "a line of ordinary length, as jobs write them, number "
SILENT_REPEAT = 300
MS = 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
    django.setup()
    options = _parser().parse_args(arguments)
    lines, megabytes, repeat = options.lines, options.megabytes, options.repeat
    rows = [("nothing, ms", lambda: None, SILENT_REPEAT, MS)]
    if lines:
        rows.append((f"{lines:,} lines by `self.stdout`, CPU s", lambda: _write_lines(lines), repeat, 1))
        rows.append((f"{lines:,} lines by `print()`, CPU s", lambda: _print_lines(lines), repeat, 1))
    if megabytes:
        rows.append((f"{megabytes:,} MB by a subprocess, CPU s", lambda: _write_bytes(megabytes), repeat, 1))
    print("| a job writes | not recorded | command line | worker |\n| --- | ---: | ---: | ---: |")
    for title, job, count, unit in rows:
        clock = time.perf_counter if count == SILENT_REPEAT else _cpu_seconds
        figures = [unit * seconds for seconds in _medians(job, count, clock)]
        print(f"| {title} | {' | '.join(f'{figure:.2f}' for figure in figures)} |", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.output", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    return parser


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


def _medians(job: Callable[[], None], repeat: int, clock: Callable[[], float]) -> list[float]:
    """The ways take turns, so that a disturbance affects all."""
    ways = (_not_recorded, _on_command_line, _in_worker)
    seconds = [[_seconds(job, way, clock) for way in ways] for _ in range(repeat)]
    return [median(each) for each in zip(*seconds, strict=True)]


def _seconds(
    job: Callable[[], None], way: Callable[[], AbstractContextManager[None]], clock: Callable[[], float]
) -> float:
    with _output_discarded():
        begin = clock()
        with way():
            job()
        return clock() - begin


@contextmanager
def _output_discarded() -> Iterator[None]:
    """As if the process had been started with its output redirected to ``/dev/null``."""
    before, descriptor = sys.stdout, os.dup(1)
    with open(os.devnull, "w") as null:  # noqa: PTH123 - a device
        os.dup2(null.fileno(), 1)
        sys.stdout = null
        try:
            yield
        finally:
            sys.stdout = before
            os.dup2(descriptor, 1)
            os.close(descriptor)


@contextmanager
def _not_recorded() -> Iterator[None]:
    yield


@contextmanager
def _on_command_line() -> Iterator[None]:
    from jobledger.runs.output.capture import of_command_line
    from jobledger.runs.output.recorder import OutputRecorder

    with of_command_line(OutputRecorder(1024 * 1024)) as captured:
        yield
        captured.end()


@contextmanager
def _in_worker() -> Iterator[None]:
    from jobledger.models import Run
    from jobledger.runs.output.capture import of_worker

    with of_worker(Run()) as captured:
        yield
        captured.end()


def _write_lines(count: int) -> None:
    # As in a command: ``self.stdout`` wraps what ``sys.stdout`` is when the command is created.
    stdout = OutputWrapper(sys.stdout)
    for number in range(count):
        stdout.write(f"{LINE}{number}")


def _print_lines(count: int) -> None:
    for number in range(count):
        print(f"{LINE}{number}")


def _write_bytes(megabytes: int) -> None:
    subprocess.run(["sh", "-c", f"yes '{LINE}' | head -c {megabytes}MB"], stdout=1, check=True)


if __name__ == "__main__":
    main()
