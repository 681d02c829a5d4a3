"""``jobledger setup``: prepares the database. Safe to run at every start."""

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error, transaction
from django.db.models import EmailField

from jobledger.admin import rights
from jobledger.checks.schedules import check_schedules
from jobledger.management.operator_command import OperatorCommand
from jobledger.management.subcommands.schedules.sync import change_lines, warnings
from jobledger.schedules.declared import DeclarationError
from jobledger.schedules.declared import sync as syncing


class Command(OperatorCommand):
    """Applies migrations and declared schedules, and creates groups with permissions, and perhaps an account.

    Warns of stored schedules that cannot start anything, because their job no longer exists or their options
    are no longer valid.
    """

    help = (
        "Prepare the database. Applies migrations and, like `sync`, the schedules that are declared in code, "
        "and creates the groups and, with --admin, an admin account."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--admin", action="store_true", help="Create an admin account, unless there is a superuser."
        )
        parser.add_argument(
            "--admin-password-file",
            type=Path,
            metavar="PATH",
            help="Write the generated admin password to this file.",
        )
        parser.add_argument(
            "--admin-username",
            metavar="NAME",
            help="The admin account's name. Default: admin; admin@localhost if a user's name is an address.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Each step prints what it did; if there was nothing to do, it prints nothing."""
        if not options["admin"] and (options["admin_password_file"] or options["admin_username"]):
            raise CommandError("--admin-password-file and --admin-username need --admin.")
        call_command("migrate", verbosity=0, interactive=False)
        self._sync_declared()
        for group in rights.create_groups():
            self.say(f"Created group {group}")
        for warning in check_schedules(databases=["default"]):
            self.remark(f"Warning: {warning.msg}", self.style.WARNING)
        if options["admin"] and not _has_superuser():
            self._make_admin(options["admin_username"] or _default_name(), options["admin_password_file"])

    def _sync_declared(self) -> None:
        try:
            outcomes = syncing.sync()
        except syncing.MissingCalendarError as error:
            # It can be added in the admin, which this command prepares.
            self.remark(f"Warning: the declared schedules were not applied: {error}", self.style.WARNING)
            return
        except DeclarationError as error:
            raise CommandError(f"The declared schedules were not applied: {error}") from error
        for line in change_lines(outcomes):
            self.say(line)
        for text in warnings(outcomes):
            self.remark(text, self.style.WARNING)

    def _make_admin(self, username: str, password_file: Path | None) -> None:
        password = secrets.token_urlsafe(12)
        # No account with a password that nobody knows.
        with transaction.atomic():
            _create_superuser(username, password)
            if password_file is not None:
                try:
                    _write_private(password_file, password)
                except OSError as error:
                    raise CommandError(f"--admin-password-file: {password_file}: {error.strerror}") from error
        self.say(f"Admin account: {username} / {password}")
        if password_file is not None:
            self.say(f"The password will not be shown again; it is stored in {password_file}")


def _has_superuser() -> bool:
    """Whether there is one; if the project's users do not have the flag, whether there is any user."""
    model = get_user_model()
    has_flag = any(field.name == "is_superuser" for field in model._meta.get_fields())
    return model._default_manager.filter(**{"is_superuser": True} if has_flag else {}).exists()


def _default_name() -> str:
    model = get_user_model()
    is_address = isinstance(model._meta.get_field(model.USERNAME_FIELD), EmailField)
    return "admin@localhost" if is_address else "admin"


def _create_superuser(username: str, password: str) -> None:
    """With the project's user model; fields that it requires besides are empty. Raises CommandError."""
    model = get_user_model()
    values = {**dict.fromkeys(model.REQUIRED_FIELDS, ""), model.USERNAME_FIELD: username}
    try:
        with transaction.atomic():
            model._default_manager.create_superuser(**values, password=password)
    except (TypeError, ValueError, AttributeError, ValidationError, Error) as error:
        raise CommandError(
            f"Cannot create an admin account, a {model._meta.label}: {error}. "
            "Create it with `manage.py createsuperuser`."
        ) from error


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
