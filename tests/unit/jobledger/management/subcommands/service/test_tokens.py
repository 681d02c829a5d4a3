"""``jobledger create_token`` and ``jobledger tokens``."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from jobledger.models import ApiToken, AuditEntry
from jobledger.schedules.audit import command_line_user
from tests.unit.builders import output_of
from tests.unit.jobledger.api.client import make_owner

pytestmark = pytest.mark.django_db


def create(*words: str) -> str:
    return output_of("jobledger", "create_token", *words).strip()


def test_only_the_token_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    owner = make_owner()
    text = create("ci", "--owner", owner.username, "--expires-in", "2d", "--read-only")
    token = ApiToken.objects.get()
    assert text.startswith(f"jl_{token.key}_")
    assert (token.owner, token.scope) == (owner, "read")
    assert token.expires_at - token.created_at == timedelta(days=2)
    assert AuditEntry.objects.get().username == command_line_user()


def test_a_token_for_a_job_has_its_options() -> None:
    owner = make_owner(is_superuser=True)
    create("ci", "--owner", owner.username, "--job", "cleanup_tokens", "--options", '{"days": 7}')
    token = ApiToken.objects.get()
    assert (token.scope, token.job, token.options) == ("start", "cleanup_tokens", {"days": 7})


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--owner", "nobody"], "There is no user 'nobody'"),
        (["--expires-in", "400d"], "must expire within 365 days"),
        (["--expires-in", "0s"], "valid for longer than 0 seconds"),
        (["--expires-in", "soon"], "not a duration"),
        (["--options", "{}"], "only a token with --job"),
        (["--job", "helo"], "Did you mean hello"),
        (["--job", "hello", "--options", "[]"], "expected a JSON object"),
        (["--job", "hello", "--options", "{"], "not valid JSON"),
        (["--job", "hello"], "may not start hello"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(words: list[str], problem: str) -> None:
    owner = [] if "--owner" in words else ["--owner", make_owner().username]
    with pytest.raises(CommandError, match=problem):
        create("ci", *owner, *words)
    assert not ApiToken.objects.exists()


def test_an_error_names_its_field() -> None:
    with pytest.raises(CommandError, match="name: This field cannot be blank"):
        create("", "--owner", make_owner().username)


def test_tokens_are_listed_and_revoked() -> None:
    create("ci", "--owner", make_owner().username)
    token = ApiToken.objects.get()
    cells = output_of("jobledger", "tokens").rstrip("\n").split("\t")
    assert cells[:5] == [str(token.pk), "ci", token.owner.username, "full", "valid"]
    assert cells[-1] == "never"
    assert output_of("jobledger", "tokens", "--revoke", str(token.pk)) == "Revoked ci.\n"
    assert "\trevoked\t" in output_of("jobledger", "tokens")
    with pytest.raises(CommandError, match="already revoked"):
        call_command("jobledger", "tokens", "--revoke", str(token.pk))
    with pytest.raises(CommandError, match="no token 999999"):
        call_command("jobledger", "tokens", "--revoke", "999999")
