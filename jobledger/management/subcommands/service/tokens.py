"""``jobledger tokens``: lists the tokens for the HTTP API, or revokes one."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobledger import clock
from jobledger.admin.tokens import changes as tokens
from jobledger.formats import exact
from jobledger.management import arguments, printing
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import ApiToken
from jobledger.schedules.audit import command_line_user


class Command(OperatorCommand):
    """Prints tab-separated lines: id, name, owner, what it is for, its state, its end and its last use."""

    help = "List the tokens for the HTTP API, newest first, or revoke one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--revoke", metavar="ID", type=arguments.count, help="Revoke this token: it is refused at once."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["revoke"] is not None:
            self._revoke(options["revoke"])
            return
        found = ApiToken.objects.select_related("owner").order_by("-pk")
        printing.write_lines(self.stdout, (_line(token) for token in found.iterator()))

    def _revoke(self, pk: int) -> None:
        token = ApiToken.objects.filter(pk=pk).first()
        if token is None:
            raise CommandError(f"There is no token {pk}")
        if not tokens.revoke(token, author=command_line_user()):
            raise CommandError(f"The token {token.name} was already revoked")
        self.say(f"Revoked {token.name}.")


def _line(token: ApiToken) -> str:
    state = "revoked" if token.revoked_at else "valid" if token.is_usable(clock.now()) else "expired"
    use = f"start {token.job}" if token.job else token.scope
    last_used = exact(token.last_used_at) if token.last_used_at else "never"
    cells = (token.name, token.owner.get_username(), use, state, exact(token.expires_at), last_used)
    return printing.tab_separated(str(token.pk), *cells)
