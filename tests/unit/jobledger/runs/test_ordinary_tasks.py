"""A schedule starts no task that nobody meant to be scheduled."""

from typing import Any

import pytest

from jobledger.runs import ordinary_tasks

ADD = "tests.probes.tasks.add"


@pytest.mark.parametrize("task", [ADD, "probes.probe", "sessions.clearsessions"])
def test_a_job_and_a_task_of_an_installed_app_may_be_scheduled(task: str) -> None:
    assert ordinary_tasks.why_refused(task) == ""


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
            "'billing.send' belongs to no app of this project, and SCHEDULABLE_TASKS does not name",
        ),
        ("send", "belongs to no app"),
        ("", "belongs to no app"),
        ("probes.gone", "there is no longer a job or task named 'probes.gone'"),
    ],
)
def test_others_may_not(task: str, why: str) -> None:
    assert why in ordinary_tasks.why_refused(task)


@pytest.mark.parametrize("names", [["billing.send"], ["billing.*"], ("other", "*.send")])
def test_what_the_settings_name_may_be_scheduled_though_it_is_not_known(settings: Any, names: Any) -> None:
    settings.SCHEDULABLE_TASKS = names
    assert ordinary_tasks.why_refused("billing.send") == ""
    assert ordinary_tasks.why_refused("billings.sent") != ""


def test_celery_s_own_may_not_even_if_they_are_named(settings: Any) -> None:
    settings.SCHEDULABLE_TASKS = ["*"]
    assert "Celery's own" in ordinary_tasks.why_refused("celery.chord_unlock")
