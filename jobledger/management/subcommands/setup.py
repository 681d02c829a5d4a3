"""``jobledger setup``: makes a database ready for the service. Safe to run at every start."""

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError

from jobledger import checks
from jobledger.admin import rights
from jobledger.management.operator_command import OperatorCommand
from jobledger.schedules import declared


class Command(OperatorCommand):
    """Applies migrations; adds declared schedules, permissions with their groups, and an admin account.

    Warns of stored schedules that cannot start: their job is gone, or takes other options.
    """

    help = (
        "Prepare the database. Applies migrations, adds the schedules that jobs declare, and creates "
        "an admin account if there is none."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The admin account."""
        parser.add_argument(
            "--admin-password-file",
            type=Path,
            metavar="PATH",
            help="Keep a generated admin password in this file.",
        )
        parser.add_argument(
            "--admin-username", default="admin", help="The account to create; default: %(default)s."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Each step prints what it did, and nothing when there was nothing to do."""
        call_command("migrate", verbosity=0, interactive=False)
        try:
            installed = declared.install()
        except declared.DeclarationError as error:
            raise CommandError(f"A declared schedule is not valid: {error}") from error
        for name in installed:
            self.say(f"Schedule added: {name}")
        for group in rights.create_groups():
            self.say(f"Group added: {group}")
        for warning in checks.check_schedules(databases=["default"]):
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
            self.say(f"The password is shown this once; it is kept in {password_file}")


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
