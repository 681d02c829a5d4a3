"""Python code executed in a service's Django, each piece in a separate process.

The processes are forks of one that has already loaded Django: starting one from scratch takes most of a
second. It has also imported what lists runs, since tests wait by listing them again and again: each fork
would take 0.15 s of CPU to import it. It never connects to the database or to Redis, so no fork inherits a
stale connection.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import IO

LISTS_RUNS = ("jobledger.management.commands.jobledger", "jobledger.management.subcommands.runs.runs")


def start(environment: Mapping[str, str], *, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the process that is forked for each piece of code."""
    return subprocess.Popen(
        (sys.executable, "-m", __name__),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )


def execute(console: subprocess.Popen[bytes], code: str) -> str:
    """What the code prints. Raises AssertionError with the traceback if it fails."""
    assert console.stdin
    assert console.stdout
    console.stdin.write(json.dumps(code).encode() + b"\n")
    console.stdin.flush()
    answer = console.stdout.readline()
    assert answer, f"the console has ended with {console.wait()}"
    printed, failure = json.loads(answer)
    assert not failure, failure
    return str(printed).strip()


def _main() -> None:
    import django
    from django.apps import apps

    django.setup()
    # Not in the projects with which the benchmarks compare the service.
    if apps.is_installed("jobledger"):
        for module in LISTS_RUNS:
            import_module(module)
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            _answer(json.loads(line))
        os.waitpid(pid, 0)


def _answer(code: str) -> None:
    printed, failure = StringIO(), ""
    try:
        with redirect_stdout(printed):
            exec(compile(code, "<console>", "exec"), {})
    except BaseException:  # noqa: BLE001 - whatever it is, the test shows it
        failure = traceback.format_exc()
    sys.stdout.write(json.dumps([printed.getvalue(), failure]) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main()
