"""The private parts of Django that this package uses, except the admin's. No other module touches them.

A comment on each use says what the public API lacks. Tests fail if a Django release changes any of them.
"""

import sqlite3
from collections.abc import Iterator
from traceback import walk_tb
from types import TracebackType
from typing import Any

from django.conf import settings
from django.core.management.base import OutputWrapper
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.http import HttpRequest

_settings: Any = settings


def wrapped_stream(stream: Any) -> Any:
    """The stream that a command's ``self.stdout`` writes to; any other stream is returned unchanged."""
    return stream._out if isinstance(stream, OutputWrapper) else stream  # noqa: SLF001 - no public attribute


def set_return_value(result: Any, value: Any) -> None:
    """Of a result of Django's tasks, which is frozen, and whose constructor does not take it."""
    object.__setattr__(result, "_return_value", value)


def set_body(request: HttpRequest, body: bytes) -> None:
    """What ``request.body`` returns from now on."""
    # Django takes a request without Content-Length for one without a body; there is no way to tell it more.
    request._body = body  # noqa: SLF001 - no public attribute


def is_prefetched(instance: Model, name: str) -> bool:
    """Whether the related objects of this name have been read by ``prefetch_related``."""
    # There is no public way to ask.
    return name in getattr(instance, "_prefetched_objects_cache", {})


def is_in_test_case(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection is in a transaction that a ``TestCase`` has begun, and will roll back."""
    blocks: list[Any] = connection.atomic_blocks
    return any(block._from_testcase for block in blocks)  # noqa: SLF001 - no public attribute


def connections_half_open(traceback: TracebackType | None) -> Iterator[sqlite3.Connection]:
    """SQLite's connections in whose preparation the error was raised.

    Django does not close them, and nothing but the local variables of its backend refers to them.
    """
    for frame, _ in walk_tb(traceback):
        if frame.f_globals.get("__name__") == "django.db.backends.sqlite3.base":
            yield from (value for value in frame.f_locals.values() if isinstance(value, sqlite3.Connection))


def settings_values() -> tuple[Any, dict[str, Any]]:
    """The object that holds the settings, and the values it has."""
    holder: Any = _settings._wrapped  # noqa: SLF001 - `dir` and `getattr` would take a hundred times as long
    return holder, dict(vars(holder))


def restore_settings_values(before: tuple[Any, dict[str, Any]]) -> None:
    """Restore those that were changed or deleted. Libraries add names when they are imported, which stay."""
    holder, values = before
    if _settings._wrapped is not holder:  # noqa: SLF001 - as above
        _settings._wrapped = holder  # noqa: SLF001 - as above
    current = vars(holder)
    for name, value in values.items():
        if name not in current or current[name] is not value:
            setattr(_settings, name, value)
