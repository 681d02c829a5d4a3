"""How the loggers of a process are configured: kept before a job, and restored after it.

There are hundreds, and each run looks at all of them three times, so that a step of Python for each is felt.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

_values_of = attrgetter("level", "propagate", "disabled")


@dataclass(frozen=True, kw_only=True)
class Configurations:
    """Everything that a job's own configuration of logging may change."""

    loggers: list[logging.Logger]
    values: list[tuple[int, bool, bool]]
    """The level, and whether it propagates and is disabled, of each."""
    lists: dict[int, tuple[list[logging.Handler], list[Any]]]
    """The handlers and the filters of those that have any, by their places among the loggers."""

    @property
    def handlers(self) -> Iterator[logging.Handler]:
        """One that several loggers have comes several times."""
        return (handler for handlers, _ in self.lists.values() for handler in handlers)

    def restore(self) -> None:
        """Configure these loggers as they were. Those that were created since are left alone."""
        for place, (logger, values) in enumerate(zip(self.loggers, self.values, strict=True)):
            if _values_of(logger) != values:
                level, logger.propagate, logger.disabled = values
                logger.setLevel(level)
            handlers, filters = self.lists.get(place, ([], []))
            if logger.handlers != handlers or logger.filters != filters:
                logger.handlers[:], logger.filters[:] = handlers, filters


def all_loggers() -> list[logging.Logger]:
    """Those that exist."""
    named = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(each for each in named if isinstance(each, logging.Logger))]


def configurations() -> Configurations:
    """Those of all loggers."""
    loggers = all_loggers()
    return Configurations(
        loggers=loggers,
        values=list(map(_values_of, loggers)),
        lists={
            place: (each.handlers[:], each.filters[:])
            for place, each in enumerate(loggers)
            if each.handlers or each.filters
        },
    )
