"""Runs lines as cron would, with and without ``wrap``, whose recorder only notes what it receives."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent.parent.parent.parent
SHELL = "/bin/sh"
ENVIRONMENT = {"HOME": "/tmp", "LOGNAME": "nobody", "PATH": "/usr/bin:/bin", "SHELL": SHELL}

_WRAP = """
import os, sys
from jobledger.wrap import relay
from jobledger.wrap.unsent import received

def record(task):
    if not (notes := {notes!r}):
        os._exit(1)
    with open(notes + ".new", "wb") as file:
        for mark, data in received(os.fdopen(task.output, "rb")):
            file.write(mark + b":" + data + b"\\n")
        file.write(b"ending:" + os.read(task.ending, 1000))
    os.rename(notes + ".new", notes)

sys.argv[1:2] = []
relay.run(sys.argv[1:], record)
"""


class Ran(NamedTuple):
    """What cron notices of a line."""

    code: int
    stdout: bytes
    stderr: bytes


def bare(line: str, **options: Any) -> Ran:
    """The line as cron runs it."""
    return _ran([SHELL, "-c", line], **options)


def wrap_argv(*arguments: str, notes: Path | str = "") -> list[str]:
    """A command line that runs ``wrap`` with these arguments."""
    return [sys.executable, "-c", _WRAP.format(notes=str(notes)), "wrap", *arguments]


def wrapped(*arguments: str, notes: Path | str = "", **options: Any) -> Ran:
    """The same with ``wrap``. Its recorder dies at once if there is nowhere to write notes to."""
    return _ran(wrap_argv(*arguments, notes=notes), **options)


def _ran(argv: list[str], *, stdin: bytes = b"", **options: Any) -> Ran:
    environment = {**ENVIRONMENT, **options.pop("env", {})}
    wanted = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    # Python finds the package without a variable, since the line must not get any.
    done = subprocess.run(
        argv, input=stdin, env=environment, cwd=wanted.pop("cwd", ROOT), timeout=60, check=False, **wanted
    )
    return Ran(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
