"""Schedules cannot start tasks that are not meant to be scheduled."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Task, current_app

from jobledger.runs import ordinary_tasks
from jobledger.runs.ordinary_tasks import known_tasks
from tests.unit.builders import override

ADD = "tests.probes.tasks.add"


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Registers a task of that name that is defined in that module."""

    def add(name: str, module: str) -> None:
        monkeypatch.setitem(current_app.tasks, name, type("task", (Task,), {"__module__": module})())
        known_tasks.cache_clear()

    yield add
    known_tasks.cache_clear()


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
        ("probes.gone", "there is no job or task named 'probes.gone'"),
    ],
)
def test_other_tasks_may_not_be_scheduled(task: str, why: str) -> None:
    assert why in ordinary_tasks.why_not_schedulable(task)


@pytest.mark.parametrize("why_not", [ordinary_tasks.why_not_schedulable, ordinary_tasks.why_forbidden])
def test_a_task_of_an_installed_app_may_have_any_name(why_not: Callable[[str], str]) -> None:
    assert why_not("add everything!") == ""


@pytest.mark.parametrize("module", ["tests.probes", "tests.probes.deep.tasks"])
def test_a_task_is_one_of_an_app_if_its_module_is(register: Callable[[str, str], None], module: str) -> None:
    register("sync", module)
    assert ordinary_tasks.why_not_schedulable("sync") == ""


@pytest.mark.parametrize(
    "module", ["tests", "tests.probes_of_others", "library.tasks", "celery.app.builtins", ""]
)
def test_registered_tasks_of_other_modules_may_not_be_scheduled(
    register: Callable[[str, str], None], module: str
) -> None:
    register("sync", module)
    assert "does not belong to an app" in ordinary_tasks.why_not_schedulable("sync")


def test_celerys_names_may_not_be_used_for_tasks_of_apps(register: Callable[[str, str], None]) -> None:
    register("celery.sync", "tests.probes.tasks")
    assert "Celery's own" in ordinary_tasks.why_not_schedulable("celery.sync")


@pytest.mark.parametrize("names", [["billing.send"], ["billing.*"], ("other", "*.send")])
def test_tasks_listed_in_the_settings_may_be_scheduled_even_if_unknown(settings: Any, names: Any) -> None:
    override(settings, SCHEDULABLE_TASKS=names)
    assert ordinary_tasks.why_not_schedulable("billing.send") == ""
    assert ordinary_tasks.why_not_schedulable("billings.sent") != ""


def test_celerys_own_tasks_may_not_be_scheduled_even_if_listed(settings: Any) -> None:
    override(settings, SCHEDULABLE_TASKS=["*"])
    assert "Celery's own" in ordinary_tasks.why_not_schedulable("celery.chord_unlock")
