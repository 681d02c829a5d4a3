"""Makes a run of a task and its arguments."""

from typing import Any

from celery import current_app
from django.utils import timezone

from jobledger import clock
from jobledger.django_tasks import results
from jobledger.django_tasks.framework import (
    DEFAULT_QUEUE,
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    InvalidTask,
    signals,
)
from jobledger.django_tasks.json_values import as_json
from jobledger.jobs import registry
from jobledger.jobs.functions import TaskFunction
from jobledger.jobs.options import OptionsError, check_bounds
from jobledger.models import Trigger
from jobledger.runs import dispatch
from jobledger.runs.publishing import delivery
from jobledger.runs.publishing.job_routes import completed, message_priority


def enqueue(
    backend: BaseTaskBackend, task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AnyResult:
    job = registry.of_task(task.module_path)
    if job is None or job.function is None:
        raise InvalidTask(
            f"{task.module_path} is not in the module `tasks` of an installed app, where workers look for "
            "functions. Define it there, or import it there."
        )
    by_position, options = _options(job.function, args, kwargs)
    run_after = task.run_after
    if run_after is not None and timezone.is_naive(run_after):
        run_after = timezone.make_aware(run_after)
    request = dispatch.RunRequest(
        job=job.name,
        options=options,
        trigger=Trigger.TASK,
        routing=_routing(task, job, job.function),
        start_after=run_after if run_after and run_after > clock.now() else None,
        enqueued_as={
            "backend": backend.alias,
            "queue_name": task.queue_name,
            "priority": task.priority,
            "run_after": run_after.isoformat() if run_after else None,
            "by_position": by_position,
        },
    )
    run = dispatch.certainly(lambda run_id: dispatch.enqueue(request, run_id=run_id))
    result = results.result_of(run, job.function)
    signals().task_enqueued.send(type(backend), task_result=result)
    return result


def _options(
    function: TaskFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    by_position, options = function.options_of(args, kwargs)
    what = f"The argument {{}} of {function.path}"
    stored = {name: as_json(value, what.format(name)) for name, value in options.items()}
    try:
        check_bounds(stored, f"the arguments of {function.path}")
    except OptionsError as error:
        raise ValueError(str(error)) from None
    return by_position, stored


def _routing(task: AnyTask, job: registry.Job, function: TaskFunction) -> dict[str, Any]:
    """The job's own queue and priority, except where ``using`` says otherwise."""
    routing: dict[str, Any] = {}
    if task.queue_name != function.task.queue_name:
        is_default = task.queue_name == DEFAULT_QUEUE
        routing["queue"] = current_app.conf.task_default_queue if is_default else task.queue_name
    if task.priority != function.task.priority:
        routing["priority"] = message_priority(task.priority)
    routing = completed(job.name, routing)
    try:
        return delivery.validated_routing(routing)
    except delivery.DeliveryError as error:
        raise InvalidTask(f"Queue {routing['queue']!r} cannot be used: {error}") from error
