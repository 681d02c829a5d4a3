"""Does nothing, so that all the time is Celery's and Django's."""

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Do nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        pass
