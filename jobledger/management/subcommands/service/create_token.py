"""``jobledger create_token``: creates a token for the HTTP API."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.management.base import CommandError

from jobledger import formats
from jobledger.admin.tokens import changes as tokens
from jobledger.jobs import json_text, registry
from jobledger.jobs.registry import Job
from jobledger.management import arguments
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Scope
from jobledger.schedules.audit import command_line_user


class Command(OperatorCommand):
    """Prints only the token, for use in shell scripts; on stderr, when it expires."""

    help = (
        "Create a token for the HTTP API. Prints it, which happens only once. It allows what its owner may "
        "do in the admin, or only some of it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="What uses it, such as ci.")
        parser.add_argument(
            "--owner", metavar="USER", required=True, help="The user whose permissions it has."
        )
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--read-only", action="store_true", help="It changes nothing, and starts nothing.")
        which.add_argument("--job", metavar="NAME", help="It starts this job, and does nothing else.")
        parser.add_argument(
            "--options", metavar="JSON", help="With --job: the options. Default: those of the request."
        )
        parser.add_argument(
            "--expires-in", metavar="DURATION", help=f"{arguments.DURATION_HELP}. Default: 90d, if allowed."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        job = _job(options["job"])
        if options["options"] is not None and job is None:
            raise CommandError("--options: only a token with --job has options")
        lifetime = tokens.default_lifetime()
        if options["expires_in"] is not None:
            lifetime = arguments.duration(options["expires_in"], "--expires-in")
        try:
            created = tokens.create(
                _owner(options["owner"]),
                author=command_line_user(),
                name=options["name"],
                scope=Scope.START if job else Scope.READ if options["read_only"] else Scope.FULL,
                lifetime=lifetime,
                job=job,
                options=_options(options["options"]),
            )
        except ValidationError as error:
            raise CommandError(_text_of(error)) from error
        self.say(created.text)
        self.remark(f"It expires at {formats.exact(created.token.expires_at)}.")


def _text_of(error: ValidationError) -> str:
    """With the names of the fields that the errors are about."""
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(
        text if name == NON_FIELD_ERRORS else f"{name}: {text}"
        for name, texts in error.message_dict.items()
        for text in texts
    )


def _owner(username: str) -> Any:
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(username)
    except model.DoesNotExist:
        raise CommandError(f"There is no user {username!r}") from None


def _job(name: str | None) -> Job | None:
    if name is None:
        return None
    try:
        return registry.find(name)
    except registry.UnknownJobError as error:
        raise CommandError(str(error.args[0])) from error


def _options(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return json_text.parse_options(text)
    except ValueError as error:
        raise CommandError(f"--options: {error}") from error
