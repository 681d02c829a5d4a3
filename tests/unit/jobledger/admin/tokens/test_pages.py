"""API tokens in the admin: created for oneself, shown once, revoked."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from jobledger.api import addresses
from jobledger.models import ApiToken, AuditEntry, Run
from tests.unit.jobledger.api.client import ApiClient, make_owner

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]

LIST, ADD = "admin:jobledger_apitoken_changelist", "admin:jobledger_apitoken_add"
FORM = {"name": "ci", "scope": "read", "days": "30"}
MEMBER = ("jobledger.add_apitoken", "jobledger.view_run", "jobledger.start_job_hello")


@pytest.fixture
def member(client: Client) -> User:
    """Logged in; may create tokens, and start hello."""
    from jobledger.admin import rights

    rights.create_groups()
    user = make_owner(MEMBER)
    client.force_login(user)
    return user


def text_in(page: str) -> str:
    found = re.search(r"jl_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", page)
    assert found
    return found[0]


def test_a_token_is_shown_once_and_works(client: Client, member: User) -> None:
    page = client.post(reverse(ADD), FORM)
    text = text_in(page.text)
    assert "no-store" in page["Cache-Control"]
    answer = Client().get("/api/v1/token", headers={"Authorization": f"Bearer {text}"}).json()
    assert (answer["owner"], answer["scope"]) == (member.username, "read")
    assert "jl_" not in client.get(reverse(LIST)).text
    assert AuditEntry.objects.get().text == "Added."


def test_a_name_that_is_taken_while_the_token_is_created_is_wrong(
    client: Client, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post(reverse(ADD), FORM)
    validate = ApiToken.full_clean
    # The first time, the other token is not there yet.
    monkeypatch.setattr(
        ApiToken, "full_clean", lambda token: monkeypatch.setattr(ApiToken, "full_clean", validate)
    )
    assert "There is a token with this name already." in client.post(reverse(ADD), FORM).text
    assert ApiToken.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"days": "366"}, "less than or equal to 365"),
        ({"days": "0"}, "greater than or equal to 1"),
        ({"days": ""}, "This field is required"),
        ({"scope": "start"}, "Select a valid choice"),
        ({"name": ""}, "This field is required"),
    ],
    ids=str,
)
def test_what_is_wrong_is_shown_in_the_form(
    client: Client, member: User, change: dict[str, str], problem: str
) -> None:
    assert problem in client.post(reverse(ADD), {**FORM, **change}).text
    assert not ApiToken.objects.exists()


def test_a_form_that_is_sent_twice_creates_one_token(client: Client, member: User) -> None:
    client.post(reverse(ADD), FORM)
    assert "There is a token with this name already." in client.post(reverse(ADD), FORM).text
    assert ApiToken.objects.count() == 1


def test_a_revoked_token_stays_in_the_list(client: Client, member: User) -> None:
    client.post(reverse(ADD), FORM)
    token = ApiToken.objects.get()
    url = reverse("admin:jobledger_apitoken_revoke", args=[token.pk])
    assert client.get(url).status_code == 405
    assert "has been revoked" in client.post(url, follow=True).text
    page = client.post(url, follow=True).text
    assert "was already revoked" in page
    assert "<td>revoked</td>" in page


def test_nobody_sees_or_revokes_the_tokens_of_others(client: Client, member: User) -> None:
    other = ApiClient(name="not yours").token
    assert "not yours" not in client.get(reverse(LIST)).text
    assert client.post(reverse("admin:jobledger_apitoken_revoke", args=[other.pk])).status_code == 403
    client.force_login(make_owner(is_superuser=True))
    assert "not yours" in client.get(reverse(LIST)).text
    client.post(reverse("admin:jobledger_apitoken_revoke", args=[other.pk]))
    other.refresh_from_db()
    assert other.revoked_at


def test_a_user_with_tokens_can_be_deleted(client: Client, member: User) -> None:
    client.post(reverse(ADD), FORM)
    client.force_login(make_owner(is_superuser=True))
    url = reverse("admin:auth_user_delete", args=[member.pk])
    assert "your account doesn't have permission" not in client.get(url).text
    client.post(url, {"post": "yes"})
    assert not ApiToken.objects.exists()


def test_a_token_is_not_deleted_but_revoked(client: Client, member: User) -> None:
    client.post(reverse(ADD), FORM)
    url = reverse("admin:jobledger_apitoken_delete", args=[ApiToken.objects.get().pk])
    assert client.post(url, {"post": "yes"}).status_code == 403
    assert ApiToken.objects.exists()


def test_the_history_of_anothers_token_is_hidden(client: Client, member: User) -> None:
    other = ApiClient(name="not yours").token
    page = client.get(reverse("admin:jobledger_apitoken_history", args=[other.pk]), follow=True)
    assert "not yours" not in page.text


def test_creating_needs_its_permission(client: Client) -> None:
    client.force_login(make_owner(["jobledger.view_run"]))
    assert client.get(reverse(ADD)).status_code == 403
    assert client.get(reverse(LIST)).status_code == 403


def test_a_jobs_page_leads_to_a_token_that_starts_it(client: Client, member: User) -> None:
    page = client.get(reverse("admin:jobledger_job", args=["hello"])).text
    assert f'href="{reverse(ADD)}?job=hello">Start from elsewhere…</a>' in page
    created = client.post(f"{reverse(ADD)}?job=hello", {"name": "deploy", "options": "{}", "days": "7"}).text
    response = Client().post(f"/api/v1/start/{text_in(created)}", content_type="application/json")
    assert (response.status_code, Run.objects.get().job) == (201, "hello")
    assert "starting hello" in client.get(reverse(LIST)).text


@pytest.mark.parametrize(("options", "problem"), [("[1]", "Expected a JSON object"), ("{", "not valid JSON")])
def test_fixed_options_are_validated(client: Client, member: User, options: str, problem: str) -> None:
    form = {"name": "deploy", "options": options, "days": "7"}
    assert problem in client.post(f"{reverse(ADD)}?job=hello", form).text


@pytest.mark.parametrize("job", ["cleanup_tokens", "no_such_job"])
def test_a_token_for_a_job_needs_permission_to_start_it(client: Client, member: User, job: str) -> None:
    assert client.get(f"{reverse(ADD)}?job={job}").status_code == 403
    assert "Start from elsewhere" not in client.get(reverse("admin:jobledger_job", args=["probe"])).text


def test_without_the_api_there_are_no_tokens(client: Client, member: User, monkeypatch: Any) -> None:
    monkeypatch.setattr(addresses, "is_on", lambda: False)
    assert client.get(reverse(LIST)).status_code == 403
    assert client.get(reverse(ADD)).status_code == 403
    assert "Start from elsewhere" not in client.get(reverse("admin:jobledger_job", args=["hello"])).text
    assert "API token" not in client.get(reverse("admin:everything")).text
