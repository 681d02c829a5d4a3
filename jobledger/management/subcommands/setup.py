"""``jobledger setup``: prepares the database. Safe to run at every start."""

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError

from jobledger.admin import rights
from jobledger.checks.schedules import check_schedules
from jobledger.management.operator_command import OperatorCommand
from jobledger.schedules import declared


class Command(OperatorCommand):
    """Applies migrations, and creates declared schedules, groups with permissions, and an admin account.

    Warns of stored schedules that cannot start anything, because their job no longer exists or their options
    are no longer valid.
    """

    help = (
        "Prepare the database. Applies migrations, creates the schedules that jobs declare, and an admin "
        "account if there is none."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--admin-password-file",
            type=Path,
            metavar="PATH",
            help="Write the generated admin password to this file.",
        )
        parser.add_argument(
            "--admin-username", default="admin", help="The admin account's name. Default: %(default)s."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Each step prints what it did; if there was nothing to do, it prints nothing."""
        call_command("migrate", verbosity=0, interactive=False)
        try:
            installed = declared.install()
        except declared.DeclarationError as error:
            raise CommandError(f"A declared schedule is not valid: {error}") from error
        for name in installed:
            self.say(f"Created schedule {name}")
        for group in rights.create_groups():
            self.say(f"Created group {group}")
        for warning in check_schedules(databases=["default"]):
            self.remark(f"Warning: {warning.msg}", self.style.WARNING)
        self._make_admin(options["admin_username"], options["admin_password_file"])

    def _make_admin(self, username: str, password_file: Path | None) -> None:
        users = get_user_model()._default_manager
        if users.filter(is_superuser=True).exists():
            return
        password = secrets.token_urlsafe(12)
        if password_file is not None:
            _write_private(password_file, password)
        users.create_superuser(
            **{get_user_model().USERNAME_FIELD: username, "email": "", "password": password}
        )
        self.say(f"Admin account: {username} / {password}")
        if password_file is not None:
            self.say(f"The password will not be shown again; it is stored in {password_file}")


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
