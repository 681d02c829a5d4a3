"""The bare task that a user would write to schedule a management command."""

from typing import Any

from celery import shared_task
from django.core.management import call_command


@shared_task
def command(name: str, **options: Any) -> None:
    """Run a management command in the worker."""
    call_command(name, **options)
