"""A plain command with all that Django lets a command declare about itself."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Print SQL."
    output_transaction = True
    requires_system_checks = ()
    requires_migrations_checks = True
    stealth_options = ("only_from_code",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--database", default="default")

    def handle(self, *args: Any, **options: Any) -> str:
        return f"SELECT {options.get('only_from_code', 1)};"
