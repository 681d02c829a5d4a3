"""Tasks that are not commands: ordinary Celery tasks, and functions of Django's tasks, which are jobs."""

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task, signature
from celery.exceptions import Ignore

from jobledger.django_tasks import declare
from jobledger.jobs.declaration import Schedule
from jobledger.jobs.functions import framework
from tests.probes.elsewhere import imported

if TYPE_CHECKING:
    from django.tasks import task
else:
    task = framework().task

__all__ = ["imported"]


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="add everything!")
def add_everything() -> None:
    """A task whose name says nothing about its app."""


@shared_task
def raise_error(message: str) -> None:
    raise LookupError(message)


@shared_task(bind=True, max_retries=1)
def try_again(self: Task[..., Any], message: str) -> None:
    raise self.retry(exc=LookupError(message), countdown=60)


@shared_task
def leave_open() -> None:
    raise Ignore


@shared_task(bind=True)
def be_replaced(self: Task[..., Any]) -> None:
    self.replace(signature(add.name, args=[1, 2], immutable=True, options={"ignore_result": True}))


@task
def multiply(x: int, y: int = 2) -> int:
    """Multiply two numbers.

    By default, double the first one.
    """
    print(f"multiplying {x} and {y}")
    logging.getLogger(__name__).warning("multiplied")
    return x * y


@task
def echo(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


@task
def address(to: Any, /, subject: Any, *, urgent: bool = False, password: str = "") -> str:
    return f"{to}: {subject}{'!' if urgent else ''}"


@task(takes_context=True)
def attempt_of(context: Any, fail_until: int = 1) -> int:
    if context.attempt < fail_until:
        raise ConnectionError(f"attempt {context.attempt}")
    return int(context.attempt)


@task
def fail(message: str) -> None:
    raise LookupError(message)


@task
def leave(code: int) -> None:
    raise SystemExit(code)


@task
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"


@task
def unstorable() -> Any:
    return object()


@declare(time_limit=timedelta(minutes=5), max_retries=2, retry_backoff=timedelta(0))
@task(priority=50, queue_name="mail")
def retried(fail: bool = False) -> None:
    if fail:
        raise RuntimeError("again")


@task
@declare(schedules=[Schedule("0 4 * * *", options={"x": 3, "y": 4}, name="nightly product")])
def scheduled(x: int, y: int) -> int:
    return x * y
