"""Each job is a Celery task."""

from typing import Any

import pytest
from celery import Celery, Task, current_app

from jobledger.jobs import registry

SETTINGS = {
    "task_serializer": "pickle",
    "task_default_rate_limit": "7/m",
    "task_default_priority": 3,
    "task_time_limit": 100,
    "task_soft_time_limit": 50,
    "task_track_started": True,
    "task_acks_late": False,
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": True,
}
OWN = ("acks_late", "reject_on_worker_lost", "track_started", "time_limit")
"""What the tasks of jobs say themselves."""


class SlowTask(Task[Any, Any]):
    """A project's own class of tasks."""

    abstract = True
    rate_limit = "1/h"


def app_with(**options: Any) -> Celery:
    current_app.loader.import_default_modules()
    app = Celery("mine", set_as_current=False, **options)
    app.conf.update(SETTINGS)
    return app


def configured(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name, _ in Task.from_config if name not in OWN}


def test_a_job_is_acknowledged_late_whatever_the_projects_tasks_do() -> None:
    app = Celery("mine", set_as_current=False)
    app.finalize()
    current_app.loader.import_default_modules()
    job, other = app.tasks["probes.probe"], app.tasks["tests.probes.tasks.add"]
    assert (job.acks_late, job.reject_on_worker_lost) == (True, False)
    assert (other.acks_late, other.reject_on_worker_lost) == (False, None)


def test_only_jobs_have_tasks() -> None:
    current_app.loader.import_default_modules()
    assert "sessions.clearsessions" in current_app.tasks
    assert not [name for name in current_app.tasks if "unexposed" in name or name.endswith(".flush")]


@pytest.mark.parametrize("options", [{}, {"task_cls": SlowTask}], ids=["celerys", "own"])
def test_the_apps_settings_count_as_for_any_other_task(options: dict[str, Any]) -> None:
    app = app_with(**options)
    app.finalize()
    job, other = app.tasks["probes.probe"], app.tasks["tests.probes.tasks.add"]
    assert configured(job) == configured(other)
    assert (job.serializer, job.priority, job.soft_time_limit) == ("pickle", 3, 50)
    assert job.rate_limit == ("1/h" if options else "7/m")
    assert (job.acks_late, job.track_started) == (True, False)


def test_a_job_without_a_time_limit_has_that_of_the_app() -> None:
    app = app_with()
    app.finalize()
    limits = {job.name: job.declaration.time_limit for job in registry.all_jobs().values()}
    without = next(name for name, limit in limits.items() if limit is None)
    assert app.tasks[registry.find(without).task_name].time_limit == 100


def test_each_app_has_tasks_of_its_own() -> None:
    first, second = app_with(), app_with()
    second.conf.task_serializer = "json"
    tasks = [app.tasks["probes.probe"] for app in (first, second)]
    assert [task.serializer for task in tasks] == ["pickle", "json"]
    assert [task.app for task in tasks] == [first, second]
    assert tasks[0].request_stack is not first.tasks["tests.probes.tasks.add"].request_stack


def test_the_settings_count_as_they_are_when_the_app_is_finalized() -> None:
    app = app_with()
    _ = app.Task
    app.conf.task_serializer = "yaml"
    assert app.tasks["probes.probe"].serializer == "yaml"
