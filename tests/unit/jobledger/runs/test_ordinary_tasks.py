"""Schedules cannot start tasks that are not meant to be scheduled."""

from typing import Any

import pytest

from jobledger.runs import ordinary_tasks
from tests.unit.builders import override

ADD = "tests.probes.tasks.add"


@pytest.mark.parametrize("task", [ADD, "probes.probe", "sessions.clearsessions"])
def test_a_job_and_a_task_of_an_installed_app_may_be_scheduled(task: str) -> None:
    assert ordinary_tasks.why_not_schedulable(task) == ""


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (
            "celery.chord_unlock",
            "'celery.chord_unlock' is one of Celery's own tasks, which cannot be scheduled",
        ),
        ("celery.backend_cleanup", "one of Celery's own tasks"),
        ("celery.gone", "one of Celery's own tasks"),
        (
            "billing.send",
            "'billing.send' does not belong to an app of this project and is not listed in SCHEDULABLE_TASKS",
        ),
        ("send", "does not belong to an app"),
        ("", "does not belong to an app"),
        ("probes.gone", "there is no longer a job or task named 'probes.gone'"),
    ],
)
def test_other_tasks_may_not_be_scheduled(task: str, why: str) -> None:
    assert why in ordinary_tasks.why_not_schedulable(task)


@pytest.mark.parametrize("names", [["billing.send"], ["billing.*"], ("other", "*.send")])
def test_tasks_listed_in_the_settings_may_be_scheduled_even_if_unknown(settings: Any, names: Any) -> None:
    override(settings, SCHEDULABLE_TASKS=names)
    assert ordinary_tasks.why_not_schedulable("billing.send") == ""
    assert ordinary_tasks.why_not_schedulable("billings.sent") != ""


def test_celerys_own_tasks_may_not_be_scheduled_even_if_listed(settings: Any) -> None:
    override(settings, SCHEDULABLE_TASKS=["*"])
    assert "Celery's own" in ordinary_tasks.why_not_schedulable("celery.chord_unlock")
