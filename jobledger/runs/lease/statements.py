"""Cancels what a PostgreSQL server is executing for a job that is being ended.

The server notices that nobody waits for a result any more only once it has it. Until then, which may take
hours, it holds the statement's locks, and changes what the next run works with.

This is about the connections of the job's own thread, and needs psycopg 3 with libpq 17, whose requests block
no other thread. psycopg itself cancels statements at Ctrl-C and at a SystemExit.

The server takes a request for whatever the connection is executing by then, which must not be a statement of
the job's cleanup. After a plain query that was interrupted in the main thread, psycopg cannot use the
connection any more. After a COPY, for example, it can, so that is left alone.
"""

import select
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from jobledger.escapes import line_logger
from jobledger.runs.ledger_connection import is_own

logger = line_logger(__name__)

CANCEL_SECONDS = 5.0
"""How long the server may take to accept a request."""
# Numbers of libpq: the status of a connection that waits for a result, and the states of a request.
_ACTIVE = 1
_FAILED, _READING, _WRITING = range(3)
_PLAIN = ("execute", "commit", "rollback", "fetchone", "fetchmany", "fetchall")
"""The methods of psycopg that execute one. A server-side cursor also fetches by one."""


def is_plain_query(frame: FrameType | None) -> bool:
    """Whether psycopg is waiting for one in this frame, or in one of those that it was called by."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "psycopg.connection" and frame.f_code.co_name == "wait":
            return frame.f_back is not None and frame.f_back.f_code.co_name in _PLAIN
        frame = frame.f_back
    return False


def used_by_this_thread() -> Sequence[BaseDatabaseWrapper]:
    """The databases that a job in this thread has used."""
    return [each for each in connections.all(initialized_only=True) if not is_own(each)]


def all_of_this_thread() -> Sequence[BaseDatabaseWrapper]:
    """Those that a job in this thread may use, for another thread, which cannot look them up later."""
    found = list[BaseDatabaseWrapper]()
    for alias in connections:
        # Such as a driver that is not installed. Whoever needs it will be told.
        with suppress(Exception):
            found.append(connections[alias])
    return found


def requests_for(databases: Iterable[BaseDatabaseWrapper]) -> Sequence[Any]:
    """What cancels the statements that these wait for; to be sent by ``cancel``.

    Takes no time and no locks, so that a signal handler can call it. The requests remain valid when Django
    closes the connections, which it does if it cannot use them any more.
    """
    found = list[Any]()
    for each in databases:
        # Such as another driver, an older libpq, or a connection that is being closed.
        with suppress(Exception):
            pgconn = cast("Any", each.connection).pgconn
            # In a pipeline, psycopg uses the connection again.
            if pgconn.transaction_status == _ACTIVE and not pgconn.pipeline_status:
                found.append(pgconn.cancel_conn())
    return found


def cancel(requests: Iterable[Any]) -> None:
    """Send the requests, and wait until the server has accepted them."""
    for request in requests:
        try:
            _send(request)
        except Exception as error:  # noqa: BLE001 - of any driver; the job ends all the same
            logger.warning("PostgreSQL goes on with a statement of a job that has ended: %s", error)


def _send(request: Any) -> None:
    until = time.monotonic() + CANCEL_SECONDS
    request.start()
    while (state := request.poll()) in (_READING, _WRITING):
        waiter = select.poll()
        waiter.register(request.socket, select.POLLIN if state == _READING else select.POLLOUT)
        if not waiter.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError(f"it has not accepted to cancel it within {CANCEL_SECONDS:g} s")
    if state == _FAILED:
        raise ConnectionError("it could not be asked to cancel it")
