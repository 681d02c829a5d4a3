"""The version of the code that this process runs; web server, worker and beat should all run the same.

It consists of ``jobledger``'s version and a digest of the Python files of the project's own apps. It is
computed once, when the process starts, because later changes do not affect code that was imported.
Libraries, settings and the environment are not included.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from django.core.signals import request_started

from jobledger import __version__
from jobledger.jobs import registry

DIGITS = 10
_SERVERS = {"django.core.asgi", "django.core.wsgi"}
"""Imported by what a web server loads, which then sets Django up."""


@cache
def code_version() -> str:
    """Such as ``0.1.0+5f3a9c01d2``; equal in two processes if and only if they run the same code."""
    # Installed libraries have versions of their own.
    directories = {config.name: Path(config.path) for config in registry.own_apps()}
    return f"{__version__}+{digest(directories)}"


def digest(directories: dict[str, Path]) -> str:
    """A digest of the Python files in each directory, independent of where the directories are."""
    found = hashlib.sha256()
    for name, directory in sorted(directories.items()):
        for path, content in _sources(directory):
            found.update(f"{name}/{path}:{len(content)}:".encode() + content)
    return found.hexdigest()[:DIGITS]


def connect() -> None:
    """Have a web server compute it at once; workers and beats do so when they start.

    One that loads the application in another way, such as ``runserver``, computes it at its first request.
    """
    if _SERVERS & sys.modules.keys():
        code_version()
    request_started.connect(_request_started, dispatch_uid="jobledger.code_version")


def _request_started(**kwargs: Any) -> None:
    request_started.disconnect(dispatch_uid="jobledger.code_version")
    code_version()


def _sources(directory: Path) -> Iterator[tuple[str, bytes]]:
    # For hundreds of sources, `Path` would take twice as long, and `open()` a third more.
    for path in sorted(_paths(str(directory))):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            content = os.read(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
        yield path[len(str(directory)) + 1 :].replace(os.sep, "/"), content


def _paths(directory: str) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))  # noqa: PTH118
