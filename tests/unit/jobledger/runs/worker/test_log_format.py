"""The logs of workers and beat have one line per message, too."""

import io
import logging
from collections.abc import Iterator

import pytest
from celery.app.log import TaskFormatter
from celery.signals import after_setup_logger, after_setup_task_logger
from celery.utils.dispatch import Signal
from celery.utils.log import ColorFormatter

HOSTILE = "\x1b]0;title\x07\n[2026-01-01: ERROR] forged"
FORMAT = "[%(levelname)s] %(message)s"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("celery.test")
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    yield logger
    logger.handlers.clear()


def written_by(logger: logging.Logger) -> str:
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    return str(handler.stream.getvalue())


def set_up(logger: logging.Logger, signal: Signal, formatter: logging.Formatter) -> None:
    """What Celery does before it sends the signal."""
    logger.handlers[0].setFormatter(formatter)
    signal.send(sender=None, logger=logger, loglevel=20, logfile=None, format=FORMAT, colorize=False)


@pytest.mark.parametrize(
    ("signal", "formatter"),
    [
        (after_setup_logger, ColorFormatter(FORMAT, use_color=False)),
        (after_setup_task_logger, TaskFormatter(FORMAT, use_color=False)),
    ],
    ids=["worker", "task"],
)
def test_a_message_of_celery_cannot_forge_a_log_entry(
    logger: logging.Logger, signal: Signal, formatter: logging.Formatter
) -> None:
    set_up(logger, signal, formatter)
    try:
        raise TypeError(HOSTILE)
    except TypeError:
        logger.exception("It failed: %s", HOSTILE)
    written = written_by(logger)
    assert "\x1b" not in written
    assert [line for line in written.splitlines() if not line.startswith("  ")] == [
        "[ERROR] It failed: \\x1b]0;title\\x07\\n[2026-01-01: ERROR] forged"
    ]


def test_a_projects_own_formatter_stays(logger: logging.Logger) -> None:
    own = logging.Formatter(FORMAT)
    set_up(logger, after_setup_logger, own)
    assert logger.handlers[0].formatter is own
