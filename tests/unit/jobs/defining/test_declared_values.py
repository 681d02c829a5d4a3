"""What a job declares about itself is looked at before it has to run."""

from datetime import timedelta
from typing import Any

import pytest

from tasks_app.jobs.defining.declaration import Concurrency, JobDeclaration, Schedule
from tasks_app.jobs.defining.declared_values import RULES, problems


def declaring(**values: Any) -> type[JobDeclaration]:
    return type("Declared", (JobDeclaration,), values)


def test_a_job_that_says_nothing_has_no_problem() -> None:
    assert list(problems(JobDeclaration)) == []


def test_every_attribute_is_looked_at() -> None:
    assert set(RULES) == set(JobDeclaration.__annotations__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", "banana"),
        ("time_limit", 5),
        ("time_limit", timedelta(0)),
        ("max_queued", 0),
        ("time_limit_grace", timedelta(seconds=-1)),
        ("max_retries", True),
        ("max_retries", -1),
        ("retry_backoff", 30),
        ("retry_on", OSError),
        ("retry_on", ("OSError",)),
        ("restart_when_lost", "yes"),
        ("secret_options", "pin"),
        ("schedules", Schedule("0 3 * * *")),
        ("schedules", ["0 3 * * *"]),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: Any) -> None:
    (said,) = problems(declaring(**{name: value}))
    assert said.startswith(f"{name} is {value!r}; wanted: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", Concurrency.ALLOW),
        ("concurrency", "queue"),
        ("time_limit", timedelta(minutes=5)),
        ("max_retries", 3),
        ("retry_on", (OSError, ValueError)),
        ("schedules", (Schedule("0 3 * * *"),)),
    ],
)
def test_a_value_that_makes_sense_is_none(name: str, value: Any) -> None:
    assert list(problems(declaring(**{name: value}))) == []
