"""As JSON, each message is one object on one line, with its run, its error and what the caller adds."""

import math
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from jobledger.logs import formatter
from jobledger.logs.running import logging_as
from tests.unit.jobledger.logs.builders import RUN, as_json, record

HOSTILE = 'line\nbreak\r\x1b[31m\u2028\u202e "quoted" \udcff é'


def test_a_line_says_when_how_bad_where_and_what() -> None:
    made = record("late by %d", 3)
    made.created = datetime(2026, 11, 28, 23, 59, 59, 123456, UTC).timestamp()
    line = formatter("json", service="web").format(made)
    assert line.startswith(
        '{"time": "2026-11-28T23:59:59.123Z", "level": "WARNING", "logger": "shop", "message": "late by 3", '
        '"service": "web", "process": '
    )


def test_outside_of_a_run_none_is_named() -> None:
    assert not {"job", "run_id", "attempt", "schedule", "trigger", "exception"} & as_json("late").keys()


def test_a_line_of_a_run_names_it() -> None:
    with logging_as(RUN, is_process_wide=False):
        found = as_json("late")
    assert {name: found[name] for name in ("job", "run_id", "attempt", "schedule", "trigger")} == {
        "job": "nightly",
        "run_id": RUN.run_id,
        "attempt": 2,
        "schedule": "every night",
        "trigger": "schedule",
    }


def test_whatever_a_message_contains_it_stays_one_line() -> None:
    assert as_json("%s", HOSTILE)["message"] == HOSTILE


def test_an_exception_is_a_field_with_its_traceback() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        exception = as_json("it failed", error=True)["exception"]
    assert exception.startswith("Traceback (most recent call last):\n")
    assert "ValueError: line\nbreak" in exception


def test_what_the_caller_adds_is_a_field_unless_the_name_is_taken() -> None:
    found = as_json("late", order=7, level="mine", job="mine")
    assert (found["order"], found["level"], found["job"]) == (7, "WARNING", "mine")
    with logging_as(RUN, is_process_wide=False):
        assert as_json("late", job="mine")["job"] == "nightly"


@pytest.mark.parametrize(
    ("value", "logged"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        ({"a": {1}, 2: (3, None)}, {"a": [1], "2": [3, None]}),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00.000Z"),
        (b"raw", "b'raw'"),
        (True, True),
    ],
)
def test_anything_may_be_added(value: Any, logged: Any) -> None:
    assert as_json("late", it=value)["it"] == logged


def test_what_contains_itself_may_be_added() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert "again" in as_json("late", it=endless)["it"]


def test_a_dictionary_instead_of_a_message_becomes_fields() -> None:
    found = as_json({"order": 7, "token": "abc"})
    assert (found["order"], found["token"], found["message"]) == (7, "********", "")


def test_lines_of_celery_about_an_ordinary_task_name_it() -> None:
    data = {"id": "1", "name": "shop.tidy", "args": "()", "kwargs": "{}"}
    found = as_json("Task %(name)s[%(id)s] received", data, name="celery.worker.strategy", data=data)
    assert (found["task"], found["task_id"]) == ("shop.tidy", "1")
    assert "data" not in found
