"""Whether what a job declares about itself makes sense. Pure; for ``manage.py check``.

Python takes ``time_limit = 5`` without a word, and the job would fail at 03:00.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from tasks_app.jobs.defining.declaration import Concurrency, JobDeclaration, Schedule

_ZERO = timedelta(0)


def problems(declaration: type[JobDeclaration]) -> Iterator[str]:
    """A sentence for each value that makes no sense, with what would be right."""
    for name, (is_right, wanted) in RULES.items():
        value = getattr(declaration, name)
        if not is_right(value):
            yield f"{name} is {value!r}; wanted: {wanted}"


def _is_choice(value: Any) -> bool:
    return value in set(Concurrency)


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, timedelta) and value > _ZERO)


def _is_length(value: Any) -> bool:
    return isinstance(value, timedelta) and value >= _ZERO


def _is_count(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _are_exceptions(value: Any) -> bool:
    return value is None or (
        isinstance(value, tuple)
        and all(isinstance(each, type) and issubclass(each, Exception) for each in value)
    )


def _are_schedules(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, Schedule) for each in value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "concurrency": (_is_choice, "one of " + ", ".join(f"Concurrency.{each.name}" for each in Concurrency)),
    "time_limit": (_is_limit, "a timedelta above 0, such as timedelta(minutes=30), or None"),
    "max_queued": (_is_count(1), "a whole number of at least 1"),
    "time_limit_grace": (_is_length, "a timedelta, such as timedelta(seconds=30)"),
    "max_retries": (_is_count(0), "a whole number of at least 0"),
    "retry_backoff": (_is_length, "a timedelta, such as timedelta(seconds=30)"),
    "retry_on": (_are_exceptions, "a tuple of exception classes, such as (OSError,), or None"),
    "restart_when_lost": (lambda value: isinstance(value, bool), "True or False"),
    "secret_options": (_are_names, 'a tuple of options by their dest, such as ("pin",)'),
    "schedules": (_are_schedules, 'a list of schedules, such as [Schedule("0 3 * * *")]'),
}
