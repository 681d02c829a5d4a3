"""An ordinary Celery task: no job."""

from celery import shared_task


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="add everything!")
def add_everything() -> None:
    """A task whose name says nothing about its app."""
