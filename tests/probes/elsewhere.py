"""A function of Django's tasks that is found because the module `tasks` of its app imports it."""

from typing import TYPE_CHECKING

from jobledger.jobs.functions import framework

if TYPE_CHECKING:
    from django.tasks import task
else:
    task = framework().task


@task
def imported() -> str:
    return "found"


@task
def unfound() -> None:
    """No module `tasks` imports it."""
