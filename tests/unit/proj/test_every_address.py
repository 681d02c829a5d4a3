"""Every address of the site: who may open it, and that none of them fails or changes anything unasked."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandParser
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from jobledger.admin import rights
from jobledger.jobs import registry
from jobledger.models import AlertDestination, AlertRule, Backfill
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.admin.schedules.edit_forms import create_hourly

pytestmark = pytest.mark.django_db

FOR_EVERYBODY = {"login", "login_code", "alive", "liveness", "readiness", "metrics", "feed", "unsubscribe"}
"""The last three have tokens of their own, without which they answer nobody."""
FOR_ALL_STAFF = FOR_EVERYBODY | {
    "index",
    "everything",
    "home_now",
    "home_timeline",
    "jobledger_job_list",
    "jobledger_following",
    "logout",
    "password_change",
    "password_change_done",
    "jsi18n",
}
"""Their pages contain only what the user may see."""

# The pages of django-otp fail for a device that does not exist.
OURS = ("jobledger", "django_celery_beat", "tasks_app")


@dataclass(frozen=True, kw_only=True)
class Address:
    name: str
    path: str


@pytest.fixture
def addresses() -> list[Address]:
    """With objects that they are about."""
    schedule = create_hourly()
    ids: dict[str, Any] = {
        "periodictask": schedule.pk,
        "run": create_run(job="probe", schedule=schedule).pk,
        "backfill": Backfill.objects.create(pk=schedule.pk, schedule=schedule, since=NOON, until=NOON).pk,
        "alertdestination": AlertDestination.objects.create(name="team").pk,
        "alertrule": AlertRule.objects.create(name="all").pk,
    }
    return list(_addresses(get_resolver().url_patterns, "/", ids))


def _addresses(
    patterns: list[URLPattern | URLResolver], before: str, ids: dict[str, Any]
) -> Iterator[Address]:
    for each in patterns:
        text = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _addresses(each.url_patterns, text, ids)
        elif each.name and "^" not in text and "/otp_" not in text:
            model = text.split("/")[3] if text.count("/") > 3 else ""
            found = ids.get(model, "probe" if model == "job" else 1)
            parts = [str(found) if part.startswith("<") else part for part in text.split("/")]
            yield Address(name=each.name, path="/".join(parts))


def ask(client: Client, method: str, address: Address) -> HttpResponseBase:
    answer: HttpResponseBase = getattr(client, method)(address.path)
    return answer


def leads_to_the_login(answer: HttpResponseBase) -> bool:
    return answer.status_code == 302 and "/login/" in answer.headers["Location"]


def state() -> list[Any]:
    """Everything that a request could have changed."""
    return [
        list(model._default_manager.order_by("pk").values())
        for model in admin.site._registry
        if model._meta.app_label in OURS or model is User
    ]


@pytest.mark.parametrize("method", ["get", "post"])
def test_without_a_login_every_address_leads_to_it(
    client: Client, addresses: list[Address], method: str
) -> None:
    before = state()
    assert len(addresses) > 100
    open_ones = [
        each.name
        for each in addresses
        if each.name not in FOR_EVERYBODY and not leads_to_the_login(ask(client, method, each))
    ]
    assert set(open_ones) <= {"logout", "jsi18n"}
    assert state() == before


@pytest.mark.parametrize("method", ["get", "post"])
def test_without_rights_staff_may_open_nothing_about_an_object(
    client: Client, addresses: list[Address], method: str
) -> None:
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    before = state()
    refusals = {
        each.name: ask(client, method, each).status_code
        for each in addresses
        if each.name not in FOR_ALL_STAFF
    }
    assert {name: code for name, code in refusals.items() if code not in (302, 403, 404, 405)} == {}
    assert state() == before


@pytest.mark.parametrize("group", [next(iter(rights.GROUPS)), ""], ids=["viewer", "superuser"])
def test_no_address_fails_or_changes_anything_when_it_is_only_opened(
    client: Client, addresses: list[Address], group: str
) -> None:
    rights.create_groups()
    user = User.objects.create_user("somebody", is_staff=True, is_superuser=not group)
    user.groups.set(Group.objects.filter(name=group))
    client.force_login(user)
    before = state()
    codes = {each.path: ask(client, "get", each).status_code for each in addresses if each.name != "logout"}
    assert {path: code for path, code in codes.items() if code >= 500 and path != "/readyz"} == {}
    assert state() == before


@pytest.mark.parametrize("method", ["get", "post"])
def test_no_address_fails_because_a_job_cannot_tell_its_options(
    client: Client, addresses: list[Address], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def add_arguments(self: BaseCommand, parser: CommandParser) -> NoReturn:
        raise OSError("no such file")

    monkeypatch.setattr(registry.find("probe").command_class, "add_arguments", add_arguments)
    client.force_login(User.objects.create_superuser("root"))
    ours = [each for each in addresses if any(f"/{label}/" in each.path for label in OURS)]
    codes = {each.path: ask(client, method, each).status_code for each in ours}
    assert {path: code for path, code in codes.items() if code >= 500} == {}


def test_every_post_needs_a_token(addresses: list[Address]) -> None:
    User.objects.create_superuser("root")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get())
    before = state()
    codes = {each.name: ask(client, "post", each).status_code for each in addresses}
    # A mail program has only the token in the address: this one is forged.
    assert codes.pop("unsubscribe") == 404
    assert {name: code for name, code in codes.items() if code not in (403, 405)} == {}
    assert state() == before
