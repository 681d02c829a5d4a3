"""A command that stays unreachable: no job, and not exposed."""

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("nobody should see this")
