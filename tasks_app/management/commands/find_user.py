"""Prints a user's email address."""

import sys
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser

from jobledger import Concurrency, JobCommand
from tasks_app import parser_types


class Command(JobCommand):
    help = "Prints a user's email address; exits with code 1 if there is no such user."
    concurrency = Concurrency.ALLOW
    time_limit = timedelta(minutes=1)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user_id", type=parser_types.user_id, metavar="USER_ID", help="The user's id.")

    def handle(self, *args: Any, user_id: Any, **options: Any) -> None:
        user_model = get_user_model()
        email = user_model.get_email_field_name()
        found = user_model._default_manager.filter(pk=user_id).values_list(email, flat=True)
        if not found:
            # Not a CommandError, whose name Django would print in front of the message.
            self.stderr.write(f"User {user_id} not found.")
            sys.exit(1)
        self.stdout.write(f"Found: {found[0]}")
