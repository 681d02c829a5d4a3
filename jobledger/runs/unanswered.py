"""What the database has not answered: it may have been committed or not, and neither may be assumed.

If the connection ends before the database has answered, as when its server dies, nobody knows whether a
change was committed: a standby that takes the server's place may have it. Who repeats it might do it twice,
and who gives up might leave something behind that nobody owns. So whoever has asked waits until the database
is back, and looks.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import Error, OperationalError, connection

from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.outages import is_outage, is_unanswered

logger = line_logger(__name__)

T = TypeVar("T")


class UnansweredError(OperationalError):
    """Whether a change was committed is unknown."""


@contextmanager
def noticed() -> Iterator[None]:
    """Raises UnansweredError if the block's statements may have been committed, but were not answered."""
    # An error until here leaves no doubt.
    connection.ensure_connection()
    try:
        yield
    except Error as error:
        if not is_unanswered(error):
            raise
        if not connection.in_atomic_block:
            connection.close()
        raise UnansweredError(*error.args) from error


def certain(
    write: Callable[[], T],
    look_up: Callable[[], T | None],
    *,
    what: str,
    within_seconds: float,
    meanwhile: Callable[[], object] = lambda: None,
) -> T:
    """What ``write`` returns or, if that was not answered, what ``look_up`` finds of it.

    If it finds nothing, ``write`` is called again, which fails or does nothing if it was committed all the
    same. ``what`` says what it does, and ``meanwhile`` is called now and then. Raises UnansweredError if the
    database is not back in time.
    """
    try:
        return write()
    except UnansweredError as error:
        logger.warning("The database has not answered whether %s: %s", what, error)
    until = time.monotonic() + within_seconds
    while True:
        try:
            return _once_back(write, look_up)
        except Error as error:
            if not is_outage(error):
                raise
            if time.monotonic() >= until:
                raise UnansweredError(*error.args) from error
            logger.debug("Whether %s is still unknown: %s", what, error)
        meanwhile()
        time.sleep(settings.HEARTBEAT_SECONDS)


def _once_back(write: Callable[[], T], look_up: Callable[[], T | None]) -> T:
    if (found := look_up()) is not None:
        return found
    try:
        written = write()
    except UnansweredError:
        raise
    except Exception:
        # The server was not dead, and has committed it only now.
        if (found := look_up()) is None:
            raise
        return found
    return written if written is not None or (found := look_up()) is None else found
