"""How the loggers of a process are configured: kept before a job, and restored after it.

There are hundreds, and each run looks at all of them several times. So whatever is done for each of them is
done without a step of Python, unless a job has changed something.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, compress
from operator import attrgetter, itemgetter, not_
from typing import Any

_values_of = attrgetter("level", "propagate", "disabled")
_propagates = itemgetter(1)
_handlers_of, _filters_of = attrgetter("handlers"), attrgetter("filters")
_known: tuple[list[Any], tuple[logging.Logger, ...]] = [], ()
"""What the names of loggers led to at the last look, and the loggers among it."""


@dataclass(frozen=True, kw_only=True)
class Configurations:
    """Everything that a job's own configuration of logging may change, of each of these loggers."""

    loggers: tuple[logging.Logger, ...]
    values: list[tuple[int, bool, bool]]
    """The level, and whether it propagates and is disabled."""
    handlers_of: list[tuple[logging.Handler, ...]]
    filters_of: list[tuple[Any, ...]]

    @property
    def handlers(self) -> Iterator[logging.Handler]:
        """One that several loggers have comes several times."""
        return chain.from_iterable(self.handlers_of)

    @property
    def last_ones(self) -> list[logging.Logger]:
        """Those whose records no other logger gets as well."""
        return [logging.root, *compress(self.loggers, map(not_, map(_propagates, self.values)))]

    @property
    def added_since(self) -> list[logging.Logger]:
        """The loggers that were created since."""
        now = all_loggers()
        if now is self.loggers:
            return []
        known = set(map(id, self.loggers))
        return [each for each in now if id(each) not in known]

    def restore(self) -> None:
        """Configure these loggers as they were. Those that were created since are left alone."""
        if _of(self.loggers) == self:
            return
        before = zip(self.loggers, self.values, self.handlers_of, self.filters_of, strict=True)
        for logger, values, handlers, filters in before:
            if _values_of(logger) != values:
                level, logger.propagate, logger.disabled = values
                logger.setLevel(level)
            logger.handlers[:], logger.filters[:] = handlers, filters


def all_loggers() -> tuple[logging.Logger, ...]:
    """Those that exist; the same tuple as long as no other one is created."""
    global _known  # noqa: PLW0603 - like the loggers, it is the process's
    named = list(logging.root.manager.loggerDict.values())
    if named != _known[0] or not _known[1]:
        loggers = (each for each in named if isinstance(each, logging.Logger))
        _known = named, (logging.root, *loggers)
    return _known[1]


def configurations() -> Configurations:
    """Those of all loggers."""
    return _of(all_loggers())


def _of(loggers: tuple[logging.Logger, ...]) -> Configurations:
    return Configurations(
        loggers=loggers,
        values=list(map(_values_of, loggers)),
        handlers_of=list(map(tuple, map(_handlers_of, loggers))),
        filters_of=list(map(tuple, map(_filters_of, loggers))),
    )
