"""How the loggers are configured is kept, and restored where it has changed."""

import logging
from collections.abc import Callable
from uuid import uuid4

import pytest

from jobledger.runs.output.loggers import all_loggers, configurations

HANDLER, FILTER = logging.NullHandler(), logging.Filter("a name")


def new_logger(prefix: str = "") -> logging.Logger:
    return logging.getLogger(f"{prefix}{uuid4().hex}")


CHANGES: dict[str, Callable[[logging.Logger], object]] = {
    "level": lambda logger: logger.setLevel(logging.DEBUG),
    "propagate": lambda logger: setattr(logger, "propagate", False),
    "disabled": lambda logger: setattr(logger, "disabled", True),
    "handlers": lambda logger: logger.addHandler(HANDLER),
    "filters": lambda logger: logger.addFilter(FILTER),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_restored(change: str) -> None:
    logger = new_logger()
    before = configurations()
    CHANGES[change](logger)
    assert configurations() != before
    before.restore()
    assert configurations() == before
    assert (logger.level, logger.propagate, logger.disabled) == (logging.NOTSET, True, False)
    assert (logger.handlers, logger.filters) == ([], [])


def test_a_handler_that_was_removed_is_there_again() -> None:
    logger = new_logger()
    logger.addHandler(HANDLER)
    before = configurations()
    logger.removeHandler(HANDLER)
    before.restore()
    assert logger.handlers == [HANDLER]
    logger.removeHandler(HANDLER)


def test_loggers_that_were_created_since_are_known_and_left_alone() -> None:
    before = configurations()
    assert before.added_since == []
    added = new_logger()
    added.setLevel(logging.DEBUG)
    assert before.added_since == [added]
    before.restore()
    assert added.level == logging.DEBUG


def test_one_of_which_only_a_descendant_was_known_is_found() -> None:
    name = uuid4().hex
    logging.getLogger(f"{name}.below")
    before = configurations()
    added = logging.getLogger(name)
    assert before.added_since == [added]


def test_the_same_loggers_are_listed_once() -> None:
    assert all_loggers() is all_loggers()
    assert all_loggers()[0] is logging.root


def test_a_last_handler_gets_each_record_once() -> None:
    apart, other = new_logger(), new_logger()
    apart.propagate = False
    before, handler = configurations(), logging.NullHandler()
    during = before.add_last(handler)
    try:
        assert configurations() == during
        assert handler in apart.handlers
        assert handler in logging.root.handlers
        assert handler not in other.handlers
    finally:
        before.remove_last(handler)
    assert configurations() == before
