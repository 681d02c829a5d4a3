"""The version of the code that this process runs: web server, worker and beat are to run the same.

It is ``jobledger``'s version and a digest of the Python files of the project's own apps, read once, when the
process begins to serve: a file that is changed later changes nothing in a process that has imported it.
Libraries, settings and the environment are not part of it.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.signals import request_started

from jobledger import __version__

DIGITS = 10
_INSTALLED = {"site-packages", "dist-packages"}


@cache
def code_version() -> str:
    """Such as ``0.1.0+5f3a9c01d2``: equal in two processes exactly if they run the same code."""
    return f"{__version__}+{digest(_own_apps())}"


def digest(folders: dict[str, Path]) -> str:
    """Of the Python files in each folder, which may be elsewhere on another machine."""
    found = hashlib.sha256()
    for name, folder in sorted(folders.items()):
        for path, content in _sources(folder):
            found.update(f"{name}/{path}:{len(content)}:".encode() + content)
    return found.hexdigest()[:DIGITS]


def connect() -> None:
    """Have a web server read it at its first request; workers and beats ask for it when they start."""
    request_started.connect(_request_started, dispatch_uid="jobledger.code_version")


def _request_started(**kwargs: Any) -> None:
    request_started.disconnect(dispatch_uid="jobledger.code_version")
    code_version()


def _own_apps() -> dict[str, Path]:
    """The folders of the apps that are not installed as libraries, which have a version of their own."""
    folders = {config.name: Path(config.path) for config in apps.get_app_configs()}
    return {name: folder for name, folder in folders.items() if not _INSTALLED.intersection(folder.parts)}


def _sources(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*.py")):
        yield path.relative_to(folder).as_posix(), path.read_bytes()
