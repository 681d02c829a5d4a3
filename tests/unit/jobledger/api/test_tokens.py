"""Tokens carry their owner's permissions, for a time, and can be revoked."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from jobledger import clock
from jobledger.admin.tokens import changes as tokens
from jobledger.jobs import registry
from jobledger.models import ApiToken, AuditEntry, Run, Scope
from tests.unit.builders import override
from tests.unit.jobledger.api.client import ApiClient, make_owner, problem_of, start_client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]


def make(owner: Any, **values: Any) -> tokens.NewToken:
    defaults = {"author": owner, "name": "ci", "scope": Scope.FULL, "lifetime": timedelta(days=1)}
    return tokens.create(owner, **{**defaults, **values})


def test_only_the_hash_of_a_token_is_stored() -> None:
    created = make(make_owner())
    secret = created.text.rpartition("_")[2] if created.text.count("_") == 2 else created.text[16:]
    stored = ApiToken.objects.values().get()
    assert not [value for value in stored.values() if secret in str(value)]
    assert secret not in str(list(AuditEntry.objects.values()))


def test_a_token_says_what_it_is() -> None:
    client = ApiClient(name="deploy")
    found = client.get("token")
    assert (found["token"], found["owner"], found["scope"]) == ("deploy", client.owner.username, "full")
    client.token.refresh_from_db()
    assert client.token.last_used_at is not None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_scheme_is_written_in_any_case(scheme: str) -> None:
    client = ApiClient()
    assert client.send("get", "token", Authorization=f"{scheme} {client.text}").status_code == 200


@pytest.mark.parametrize("text", ["", "Basic YTpi", "Bearer", "Bearer jl_000000000000_", "Bearer ä"])
def test_without_a_valid_token_nothing_is_answered(text: str) -> None:
    response = ApiClient().send("get", "token", Authorization=text)
    problem_of(response, 401)
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_another_secret_of_the_same_key_is_not_accepted() -> None:
    client = ApiClient()
    client.text = client.text[:-1] + ("A" if client.text[-1] != "A" else "B")
    problem_of(client.send("get", "token"), 401)


@pytest.mark.parametrize(
    "change",
    [
        {"owner__is_active": False},
        {"owner__is_staff": False},
        {"expires_at": timezone.now() - timedelta(days=1)},
        {"revoked_at": timezone.now() - timedelta(days=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_token_is_useless_once_it_or_its_owner_is(change: dict[str, Any]) -> None:
    client = ApiClient()
    (name, value) = next(iter(change.items()))
    row = client.owner if name.startswith("owner__") else client.token
    setattr(row, name.removeprefix("owner__"), value)
    row.save()
    problem_of(client.send("get", "token"), 401)


def test_a_demoted_owner_loses_permissions_at_once() -> None:
    client = ApiClient()
    client.get("runs")
    client.owner.is_superuser = False
    client.owner.save()
    problem_of(client.send("get", "runs"), 403)


def test_a_revoked_token_is_not_revoked_again() -> None:
    client = ApiClient()
    assert [tokens.revoke(client.token, author=client.owner) for _ in range(2)] == [True, False]
    problem_of(client.send("get", "token"), 401)
    assert AuditEntry.objects.filter(text="Revoked.").count() == 1


def test_the_name_of_a_revoked_token_is_free_again() -> None:
    owner = make_owner()
    created = make(owner)
    with pytest.raises(ValidationError, match="There is a token with this name already"):
        make(owner)
    tokens.revoke(created.token, author=owner)
    make(owner)


@pytest.mark.parametrize(
    ("days", "text"), [(0, "longer than 0"), (-1, "longer than 0"), (400, "within 365 days")]
)
def test_a_token_always_expires(days: int, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        make(make_owner(), lifetime=timedelta(days=days))


def test_the_longest_lifetime_is_a_setting(settings: Any) -> None:
    override(settings, API_TOKEN_MAX_DAYS=7)
    assert tokens.default_lifetime() == timedelta(days=7)
    with pytest.raises(ValidationError, match="within 7 days"):
        make(make_owner(), lifetime=timedelta(days=8))


def test_nobody_gets_a_token_who_may_not_use_the_admin() -> None:
    owner = make_owner()
    owner.is_staff = False
    with pytest.raises(ValidationError, match="may not log in to the admin"):
        make(owner)


# --- Tokens that start one job


def test_a_start_token_starts_its_job_without_a_header() -> None:
    client = start_client("cleanup_tokens", {"days": 7})
    response = client.client.post(f"/api/v1/start/{client.text}", content_type="application/octet-stream")
    started, run = response.json(), Run.objects.get()
    assert (response.status_code, started["id"], run.job) == (201, str(run.pk), "cleanup_tokens")
    assert run.options == {"days": 7}
    assert str(run.pk) in started["page"]


def test_a_start_token_may_also_be_sent_as_a_header() -> None:
    assert start_client("hello").post("start")["job"] == "hello"
    problem_of(ApiClient().send("post", "start", {}), 403)
    problem_of(ApiClient().send("post", "start", {}, Authorization=""), 401)


def test_fixed_options_cannot_be_replaced() -> None:
    client = start_client("cleanup_tokens", {"days": 7})
    problem = problem_of(client.send("post", f"start/{client.text}", {"options": {"days": 1}}), 403)
    assert "fixed" in problem["detail"]
    assert not Run.objects.exists()


def test_without_fixed_options_those_of_the_request_are_validated() -> None:
    client = start_client("cleanup_tokens")
    problem_of(client.send("post", f"start/{client.text}", {"options": {"days": "many"}}), 422)
    assert client.post(f"start/{client.text}", {"options": {"days": 3}})["options"] == {"days": 3}


def test_a_start_token_of_a_job_that_is_gone_names_no_others() -> None:
    client = start_client("hello")
    ApiToken.objects.update(job="gone")
    detail = problem_of(client.send("post", "start", {}), 404)["detail"]
    assert detail == "The job of this token, gone, no longer exists."


def test_fixed_options_are_as_any_database_can_store_them() -> None:
    client = start_client("probe", {"warn": "a\0b"})
    assert client.post("start")["options"] == {"warn": "a␀b"}


def test_a_start_token_can_do_nothing_else() -> None:
    client = start_client("hello")
    for method, path in (("get", "token"), ("get", "runs"), ("post", "jobs/hello/runs")):
        problem = problem_of(client.send(method, path, {} if method == "post" else None), 403)
        assert "nothing but start hello" in problem["detail"]


def test_another_token_does_not_fit_the_address() -> None:
    client = ApiClient()
    problem_of(client.send("post", f"start/{client.text}", {}), 403)
    problem_of(client.send("post", "start/jl_0123456789ab_x", {}), 401)
    assert not Run.objects.exists()


def test_a_start_token_needs_an_owner_who_may_start_the_job() -> None:
    owner = make_owner(["jobledger.start_run"])
    job = registry.all_jobs()["hello"]
    client = ApiClient(owner, scope=Scope.START, job=job)
    owner.user_permissions.clear()
    problem_of(client.send("post", f"start/{client.text}", {}), 403)
    with pytest.raises(ValidationError, match="may not start hello"):
        make(make_owner(), scope=Scope.START, job=job)


def test_the_token_in_an_address_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = start_client("cleanup_tokens")
    problem_of(client.send("post", f"start/{client.text}", {"options": {"days": "many"}}), 422)
    assert "/api/v1/start/********" in caplog.text
    assert client.text not in caplog.text


def test_fixed_options_must_be_valid() -> None:
    with pytest.raises(ValidationError, match="is not a whole number"):
        start_client("cleanup_tokens", {"days": "many"})


def test_a_token_that_has_expired_just_now_is_not_recognized() -> None:
    created = make(make_owner())
    assert tokens.recognized(created.text, created.token.expires_at - timedelta(seconds=1))
    assert tokens.recognized(created.text, created.token.expires_at) is None
    assert tokens.recognized(created.text, clock.now())


def test_a_scope_of_another_version_allows_nothing() -> None:
    client = ApiClient()
    ApiToken.objects.update(scope="jobs")
    problem = problem_of(client.send("get", "jobs"), 403)
    assert "does not know this token's scope, 'jobs'" in problem["detail"]


def test_a_token_whose_options_are_no_object_starts_nothing() -> None:
    client = start_client("probe", {"level": 1})
    ApiToken.objects.update(options=[1])
    problem = problem_of(client.send("post", "start"), 409)
    assert "[1] is stored, which is not a JSON object" in problem["detail"]
    assert not Run.objects.exists()
