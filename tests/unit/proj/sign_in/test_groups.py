"""The groups of the provider become the groups of the service, and no others."""

import logging
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from pytest_django import Settings

from proj.sign_in import groups

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def mapping(settings: Settings) -> None:
    settings.OIDC_GROUPS = [("ops", "operators"), ("ops", "viewers"), ("dev", "viewers"), ("x", "missing")]
    for name in ("operators", "viewers", "editors"):
        Group.objects.create(name=name)


def names(claims: dict[str, Any]) -> list[str]:
    return sorted(group.name for group in groups.granted_by(claims))


@pytest.mark.parametrize(
    ("claimed", "granted"),
    [
        (["ops"], ["operators", "viewers"]),
        (["dev", "elsewhere"], ["viewers"]),
        ("dev", ["viewers"]),
        ("operators", []),
        (["operators", "Dev", " dev"], []),
        ([], []),
        (None, []),
        ([["dev"], {"dev": 1}, None, 7], []),
        (7, []),
        (True, []),
        ({"dev": {}}, []),
    ],
    ids=str,
)
def test_a_group_is_granted_by_the_names_it_is_mapped_from(claimed: Any, granted: list[str]) -> None:
    assert names({"groups": claimed}) == granted


def test_without_the_claim_nothing_is_granted() -> None:
    assert names({"roles": ["ops"]}) == []


def test_the_claim_may_have_another_name(settings: Settings) -> None:
    settings.OIDC_GROUPS_CLAIM = "roles"
    assert names({"roles": ["dev"], "groups": ["ops"]}) == ["viewers"]


def test_a_group_that_does_not_exist_grants_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        assert names({"groups": ["x"]}) == []
    assert "'missing'" in caplog.text


def test_a_user_has_the_current_rights_and_the_groups_granted_here() -> None:
    user = User.objects.create_user("ann")
    user.groups.add(Group.objects.get(name="editors"))
    for claimed, expected, is_staff in (
        (["ops"], ["editors", "operators", "viewers"], True),
        (["dev"], ["editors", "viewers"], True),
        ([], ["editors"], False),
    ):
        groups.apply(user, groups.granted_by({"groups": claimed}))
        user.refresh_from_db()
        assert sorted(user.groups.values_list("name", flat=True)) == expected
        assert user.is_staff == is_staff
