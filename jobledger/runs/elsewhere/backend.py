"""Reads what Celery's result backend knows of tasks, many at a time where it can.

What is stored there was written by others. So exceptions are not made again from what is stored, if that can
be avoided, and a result that cannot be decoded concerns its own task only.
"""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import current_app, states
from celery.backends.base import BaseKeyValueStoreBackend
from celery.exceptions import SecurityError
from kombu.exceptions import ContentDisallowed, SerializationError

from jobledger.runs.outcome import text_of

UNREADABLE = ("disabled", "rpc")
"""Backends from which nobody learns a result, or only whoever has called the task."""
BATCH = 200
"""How many results are read at once. Some may be large."""
MAX_TEXT_LENGTH = 100_000
"""Of an error and of a traceback, of which the end says most."""
MAX_NAME_LENGTH = 200
_UNDECODABLE = (
    *(ContentDisallowed, SerializationError, SecurityError, pickle.UnpicklingError),
    *(ValueError, TypeError, LookupError, AttributeError, ImportError, EOFError, RecursionError),
)


class BackendDownError(Exception):
    """The result backend does not answer, or cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What is stored of a task."""

    state: str
    """One of Celery's states, or of the task's own."""
    done_at: datetime | None = None
    """On the clock of its worker."""
    worker: str = ""
    """Empty unless the task's worker stores that, too (``result_extended``)."""
    error_type: str = ""
    error_module: str = ""
    error_args: tuple[Any, ...] = ()
    traceback: str = ""

    @property
    def message(self) -> str:
        """The error as text."""
        args = self.error_args
        return text_of(args[0] if len(args) == 1 else args)[-MAX_TEXT_LENGTH:] if args else ""


@dataclass(frozen=True, kw_only=True)
class Undecodable:
    """Something is stored of a task, but cannot be decoded."""

    problem: str


Results = Mapping[UUID, Result | Undecodable]


def why_unreadable() -> str:
    """The kind of the result backend, if no end of a task can be read from it; empty if it may be."""
    name = str(current_app.conf.result_backend or "disabled").partition("://")[0].lower()
    return next((kind for kind in UNREADABLE if name == kind or name.endswith(f":{kind}backend")), "")


def read(pks: Sequence[UUID]) -> Results:
    """What is known of these tasks, at most ``BATCH``; nothing is known of the others.

    May take as long as the backend lets its clients wait. Raises BackendDownError.
    """
    try:
        return dict(_read(current_app.backend, pks))
    except Exception as error:
        raise BackendDownError(f"{type(error).__name__}: {text_of(error)}") from error


def _read(backend: Any, pks: Sequence[UUID]) -> Iterator[tuple[UUID, Result | Undecodable]]:
    stored = _payloads(backend, pks) if isinstance(backend, BaseKeyValueStoreBackend) else None
    for pk in pks:
        if stored is not None and stored[pk] is None:
            continue
        try:
            if stored is None:
                meta = backend.get_task_meta(str(pk), cache=False)
            else:
                # Not `decode_result`, which also makes an exception of the class that is named there.
                meta = backend.decode(stored[pk])
            found = _result(meta)
        except _UNDECODABLE as error:
            yield pk, Undecodable(problem=f"{type(error).__name__}: {text_of(error)}")
        else:
            if found.state != states.PENDING:
                yield pk, found


def _payloads(backend: Any, pks: Sequence[UUID]) -> Mapping[UUID, Any]:
    keys = {pk: backend.get_key_for_task(str(pk)) for pk in pks}
    try:
        found = backend.mget(list(keys.values()))
    except NotImplementedError:
        return {pk: backend.get(key) for pk, key in keys.items()}
    if isinstance(found, Mapping):
        return {pk: found.get(key) for pk, key in keys.items()}
    return dict(zip(keys, found, strict=True))


def _result(meta: Any) -> Result:
    """Raises LookupError, TypeError or ValueError for anything but what Celery stores."""
    state = meta["status"]
    if not isinstance(state, str):
        raise TypeError(f"the state is {state!r}, not a text")
    worker = str(meta.get("worker") or "")[:MAX_NAME_LENGTH]
    if state not in states.EXCEPTION_STATES:
        value = meta.get("result")
        if state == states.STARTED and isinstance(value, Mapping):
            worker = worker or str(value.get("hostname") or "")[:MAX_NAME_LENGTH]
        return Result(state=state, done_at=_time(meta.get("date_done")), worker=worker)
    name, module, args = _error(meta.get("result"))
    return Result(
        state=state,
        done_at=_time(meta.get("date_done")),
        worker=worker,
        error_type=name[:MAX_NAME_LENGTH],
        error_module=module[:MAX_NAME_LENGTH],
        error_args=args,
        traceback=text_of(meta.get("traceback") or "")[-MAX_TEXT_LENGTH:],
    )


def _error(value: Any) -> tuple[str, str, tuple[Any, ...]]:
    """The class of an exception, its module, and its arguments."""
    match value:
        case BaseException():
            return type(value).__qualname__, type(value).__module__, value.args
        case {"exc_type": name, "exc_message": message, **others}:
            args = tuple(message) if isinstance(message, list | tuple) else (message,)
            return str(name), str(others.get("exc_module") or ""), args
        case None:
            return "", "", ()
    return "", "", (value,)


def _time(value: Any) -> datetime | None:
    """Some backends store a time, others a text; without a time zone, it is UTC."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
