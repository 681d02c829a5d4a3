"""One Celery task per job, named ``<app label>.<command>``; its keyword arguments are the job's options.

A message without a run, such as one from ``celery call``, gets a run when it arrives. The task's result is a
small JSON object; if the run does not succeed, the task fails with the reason. A message that is delivered
again while its run is running or finished affects neither the run nor its result.

Beat imports this module as well, so that what executes jobs is imported by workers only.
"""

from collections.abc import Callable
from typing import Any

from celery import Celery, Task

from jobledger.celery_internals import for_each_app
from jobledger.jobs import registry
from jobledger.runs import limits
from jobledger.runs.results import JobFailedError

# A string, so that only workers import it.
REQUEST = "jobledger.runs.worker.main_process:JobRequest"


def register_all() -> None:
    """Register a task for every job, in each Celery app of this process."""
    tasks = [(_task_function(job), _task_options(job)) for job in registry.all_jobs().values()]

    def create(app: Celery) -> None:
        base = _base_of_tasks(app)
        for function, options in tasks:
            register: Callable[..., Any] = app.task(shared=False, lazy=False, base=base, **options)
            register(function)

    for_each_app(create)


def _base_of_tasks(app: Celery) -> type[Task[..., Any]]:
    """The app's base class of tasks, with what the app's settings say about tasks.

    Celery would look up a dozen settings twice for each task. In a project with a hundred jobs, that takes
    as long as loading all of them.
    """
    configured = {
        attribute: app.conf[setting]
        for attribute, setting in app.Task.from_config
        if getattr(app.Task, attribute, None) is None
    }
    return type("Task", (app.Task,), {**configured, "from_config": (), "abstract": True})


def _task_options(job: registry.Job) -> dict[str, Any]:
    hard_limit = limits.of_job(job.declaration).hard_limit_seconds
    return {
        "name": job.task_name,
        "bind": True,
        "Request": REQUEST,
        # A message is redelivered if its worker dies; claiming the run makes duplicates harmless. Rejecting
        # the messages of lost workers could loop forever.
        "acks_late": True,
        "reject_on_worker_lost": False,
        # Celery would store that of each message, even of one delivered again: over the result of its run.
        "track_started": False,
        # As an expected exception it is logged without traceback, which is recorded with the run anyway.
        "throws": (JobFailedError,),
        # Without one, that of the app's settings remains.
        **({} if hard_limit is None else {"time_limit": hard_limit}),
    }


def _task_function(job: registry.Job) -> Callable[..., dict[str, Any]]:
    def run_job(task: Task[..., Any], /, *args: Any, **options: Any) -> dict[str, Any]:
        from jobledger.runs.worker import job_task

        return job_task.execute(task, job, args, options)

    run_job.__doc__ = job.help
    return run_job


register_all()
