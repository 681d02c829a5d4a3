"""A changelist accepts only the filters that it shows: hidden or masked fields cannot be queried."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.auth.models import Permission, User
from django.db.models import Field, Model
from django.http import QueryDict
from django.test import Client, RequestFactory

from jobledger.admin.runs.listing import run_list
from jobledger.models import Backfill, Run
from tests.unit.builders import NOON, make_order, utc
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.admin.schedules.edit_forms import LIST, create_hourly

pytestmark = pytest.mark.django_db

OWN_LISTS = [
    model
    for model in apps.get_models()
    if admin.site.is_registered(model)
    and type(admin.site.get_model_admin(model)).__module__.startswith(("jobledger.", "tasks_app."))
]
DJANGOS_LISTS = [model for model in OWN_LISTS if model not in (Run, Backfill)]
# Django accepts at most a thousand parameters.
LOOKUPS_AT_ONCE = 500


def fields_of(model: type[Model]) -> list[Any]:
    return list(model._meta.get_fields(include_hidden=True))


def lookups_of(path: str, field: Any) -> Iterator[str]:
    """Every lookup, and the transforms of one level."""
    yield path
    known = field.get_lookups() if isinstance(field, Field) else {}
    yield from (f"{path}__{name}" for name in known)
    yield from (f"{path}__{name}__gt" for name in known)


def all_lookups(model: type[Model]) -> Iterator[str]:
    """The lookups of all fields, of the fields of related models, and of ``pk``."""
    yield from lookups_of("pk", model._meta.pk)
    for field in fields_of(model):
        name = field.name if isinstance(field, Field) else (field.get_accessor_name() or field.name)
        for path in {field.name, getattr(field, "attname", field.name), name}:
            yield from lookups_of(path, field)
        if field.is_relation and field.related_model:
            for beyond in fields_of(field.related_model):
                yield from lookups_of(f"{field.name}__{beyond.name}", beyond)


def change_list(model: type[Model], **query: str) -> Any:
    request = RequestFactory().get("/", query)
    request.user = User(is_superuser=True, is_staff=True)
    return admin.site.get_model_admin(model).get_changelist_instance(request)


def shown_by(model: type[Model]) -> set[str]:
    """The parameters of the links on the page."""
    hierarchy = admin.site.get_model_admin(model).date_hierarchy
    shown = {f"{hierarchy}__{part}" for part in ("year", "month", "day")} if hierarchy else set()
    return shown | {name for spec in change_list(model).filter_specs for name in spec.expected_parameters()}


def is_of_a_shown_filter(lookup: str, shown: set[str]) -> bool:
    """Equality and ranges of shown filters, but no lookups of patterns or parts."""
    path, _, name = lookup.rpartition("__")
    beginnings = {each.rpartition("__")[0] for each in shown}
    return lookup in shown or (
        path in beginnings and name in {"exact", "in", "isnull", "isempty", "gte", "lt"}
    )


def is_taken(model: type[Model], lookup: str) -> bool:
    try:
        change_list(model, **{lookup: "1"})
    except DisallowedModelAdminLookup:
        return False
    except admin.options.IncorrectLookupParameters:
        return True
    return True


@pytest.mark.one_database
@pytest.mark.parametrize("model", DJANGOS_LISTS, ids=lambda model: model.__name__)
def test_lookups_that_are_not_shown_are_rejected(model: type[Model]) -> None:
    make_order(utc(2026, 1, 1), "10.00", "gift")  # a filter by tags is shown when there are some
    shown = shown_by(model)
    lookups = set(all_lookups(model))
    assert len(lookups) > 50
    assert (
        sorted(each for each in lookups if is_taken(model, each) and not is_of_a_shown_filter(each, shown))
        == []
    )


@pytest.mark.parametrize("model", DJANGOS_LISTS, ids=lambda model: model.__name__)
def test_every_shown_filter_is_accepted(model: type[Model]) -> None:
    make_order(utc(2026, 1, 1), "10.00", "gift")
    assert [each for each in shown_by(model) if not is_taken(model, each)] == []


def test_the_list_of_runs_ignores_every_lookup() -> None:
    rows = {create_run(job="probe").pk, create_run(job="hello").pk}
    own = {"q", "job", "status", "trigger", "schedule", "time", "from", "to", "before", "after"}
    lookups = sorted(set(all_lookups(Run)) - own)
    for first in range(0, len(lookups), LOOKUPS_AT_ONCE):
        query = dict.fromkeys(lookups[first : first + LOOKUPS_AT_ONCE], "x")
        found = run_list(QueryDict(urlencode(query)), NOON)
        assert {run.pk for run in found.page.runs} == rows, query


@pytest.mark.parametrize(
    "lookup",
    [
        "kwargs__regex",
        "description__regex",
        "kwargs__startswith",
        "kwargs",
        "headers__contains",
        "policy__revision__gte",
        "runs__options__token",
        "nonsense",
    ],
)
def test_a_lookup_of_a_hidden_value_is_an_error(client: Client, lookup: str) -> None:
    create_hourly(kwargs='{"token": "s3cret"}')
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    client.force_login(viewer)
    assert client.get(LIST).status_code == 200
    assert client.get(LIST, {lookup: "s3cret"}).status_code == 400


@pytest.mark.parametrize(
    "query", ["alert/?kind__exact=%00", "alert/?kind__in=failed,%00", "feed/?kind__exact=%00"]
)
def test_a_value_that_postgresql_rejects_is_an_error_of_the_client(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"/admin/jobledger/{query}").status_code == 400


def test_a_key_cannot_be_guessed_by_its_prefix(admin_client: Client) -> None:
    assert admin_client.get("/admin/tasks_app/authtoken/?key__startswith=a").status_code == 400
