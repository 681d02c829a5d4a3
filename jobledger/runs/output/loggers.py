"""How the loggers of a process are configured: kept before a job, and restored after it.

There are hundreds, and each run looks at all of them. So whatever is done for each of them is done without a
step of Python, unless a job has changed something, and each is looked up once.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, compress
from operator import attrgetter, itemgetter, not_
from typing import Any

_values_of = attrgetter("level", "propagate", "disabled", "handlers", "filters")
_propagates, _handlers_in, _filters_in = itemgetter(1), itemgetter(3), itemgetter(4)
_known: tuple[list[Any], tuple[logging.Logger, ...]] = [], ()
"""What the names of loggers led to at the last look, and the loggers among it."""


@dataclass(frozen=True, kw_only=True)
class Configurations:
    """Everything that a job's own configuration of logging may change, of each of these loggers."""

    loggers: tuple[logging.Logger, ...]
    values: list[tuple[int, bool, bool, list[logging.Handler], list[Any]]]
    """The level, whether it propagates and is disabled, and the lists of its handlers and filters."""
    handlers_of: list[tuple[logging.Handler, ...]]
    filters_of: list[tuple[Any, ...]]
    """What was in these lists."""

    @property
    def handlers(self) -> Iterator[logging.Handler]:
        """One that several loggers have comes several times."""
        return chain.from_iterable(self.handlers_of)

    @property
    def added_since(self) -> list[logging.Logger]:
        """The loggers that were created since."""
        now = all_loggers()
        if now is self.loggers:
            return []
        known = set(map(id, self.loggers))
        return [each for each in now if id(each) not in known]

    def add_last(self, handler: logging.Handler) -> "Configurations":
        """Let it have all records, each of them once; returns how the loggers are configured then."""
        handlers_of = self.handlers_of[:]
        for place in self._last:
            self.loggers[place].addHandler(handler)
            handlers_of[place] = (*handlers_of[place], handler)
        return replace(self, handlers_of=handlers_of)

    def remove_last(self, handler: logging.Handler) -> None:
        """Undo that."""
        for place in self._last:
            self.loggers[place].removeHandler(handler)

    @property
    def _last(self) -> dict[int, None]:
        """The places of the loggers whose records no other logger gets as well: the root's is the first."""
        places = range(len(self.loggers))
        return dict.fromkeys((0, *compress(places, map(not_, map(_propagates, self.values)))))

    def restore(self) -> None:
        """Configure these loggers as they were. Those that were created since are left alone."""
        if _of(self.loggers) == self:
            return
        before = zip(self.loggers, self.values, self.handlers_of, self.filters_of, strict=True)
        for logger, values, handlers, filters in before:
            if _values_of(logger) != values:
                level, logger.propagate, logger.disabled, logger.handlers, logger.filters = values
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
    values = list(map(_values_of, loggers))
    return Configurations(
        loggers=loggers,
        values=values,
        handlers_of=list(map(tuple, map(_handlers_in, values))),
        filters_of=list(map(tuple, map(_filters_in, values))),
    )
