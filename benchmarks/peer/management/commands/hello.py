"""What the sample job ``hello`` would be without this service."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone


class Command(BaseCommand):
    help = "Prints a greeting with the time. Changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Hello! It is {timezone.localtime():%Y-%m-%d %H:%M:%S %Z}.")
