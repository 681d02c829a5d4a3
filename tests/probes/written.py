"""Writes in every way there is."""

import ctypes
import logging
import os
import subprocess
import sys
import warnings

from django.core.management.base import BaseCommand

_C = ctypes.CDLL(None)


def write(command: BaseCommand) -> None:
    """What the service records of this is in ``LINES``."""
    command.stdout.write("self.stdout")
    print("print")
    subprocess.run(["sh", "-c", "echo subprocess"], check=True)
    command.stderr.write("self.stderr")
    logging.getLogger("anything").warning("logging")
    warnings.warn("warning", UserWarning, stacklevel=1)
    os.write(1, b"descriptor\n")
    print("sys.stderr", file=sys.stderr)
    _C.puts(b"C library")
    _C.fflush(None)


LINES = [
    "self.stdout",
    "print",
    "subprocess",
    "self.stderr",
    "WARNING anything: logging",
    "WARNING py.warnings: written.py: UserWarning: warning",
    '  warnings.warn("warning", UserWarning, stacklevel=1)',
    "",
    "descriptor",
    "sys.stderr",
    "C library",
]
"""In a worker, without dates, folders and numbers of lines."""
