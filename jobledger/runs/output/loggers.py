"""How the loggers of a process are configured: kept before a job, and restored after it."""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple


class LoggerConfiguration(NamedTuple):
    """How a logger is configured. A tuple, since there are many, and they are kept for each run."""

    logger: logging.Logger
    level: int
    propagate: bool
    disabled: bool
    handlers: list[logging.Handler]
    filters: list[Any]


def all_loggers() -> list[logging.Logger]:
    """Those that exist."""
    named = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(each for each in named if isinstance(each, logging.Logger))]


def configurations() -> list[LoggerConfiguration]:
    """Those of all loggers, with everything that a job's own configuration of logging may change."""
    return [
        LoggerConfiguration(
            each, each.level, each.propagate, each.disabled, each.handlers[:], each.filters[:]
        )
        for each in all_loggers()
    ]


def restore(before: Iterable[LoggerConfiguration]) -> None:
    """Configure these loggers as they were. Those that were created since are left alone."""
    for logger, level, propagate, disabled, handlers, filters in before:
        if logger.level != level:
            logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        logger.handlers[:], logger.filters[:] = handlers, filters
