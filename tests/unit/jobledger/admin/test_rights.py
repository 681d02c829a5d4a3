"""Separate permissions for viewing, starting, cancelling, editing and pausing, and predefined groups."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User

from jobledger.admin import rights

pytestmark = pytest.mark.django_db


def create_user(*, group: str = "", permission: str = "", is_active: bool = True) -> User:
    user = User.objects.create(username="anna", is_active=is_active)
    if group:
        user.groups.add(Group.objects.get(name=group))
    if permission:
        user.user_permissions.add(Permission.objects.get(codename=permission))
    return user


@pytest.mark.parametrize(
    ("group", "may"),
    [
        ("Job viewers", (False, False, False, False)),
        ("Job operators", (True, True, True, False)),
        ("Schedule editors", (True, True, True, True)),
    ],
)
def test_each_group_extends_the_previous_one(group: str, may: tuple[bool, ...]) -> None:
    rights.create_groups()
    user = create_user(group=group)
    assert user.has_perm("jobledger.view_run")
    assert may == (
        rights.may_start(user, "probe"),
        rights.may_cancel(user),
        rights.may_pause(user),
        user.has_perm(rights.CHANGE_SCHEDULES),
    )


def test_starting_can_be_limited_to_one_job() -> None:
    rights.create_groups()
    user = create_user(permission="start_job_probe")
    assert rights.may_start(user, "probe")
    assert rights.may_start_any(user)
    assert not rights.may_start(user, "lasting")


def test_a_user_without_start_permission_may_not_start_any_job() -> None:
    rights.create_groups()
    assert not rights.may_start_any(create_user())


def test_an_inactive_user_has_no_permissions() -> None:
    rights.create_groups()
    assert not rights.may_start(create_user(permission="start_run", is_active=False), "probe")


def test_an_anonymous_user_has_no_permissions() -> None:
    assert not rights.may_start(AnonymousUser(), "probe")


@dataclass
class Employee:
    """Has what Django's documentation asks of users of the admin, which is not ``PermissionsMixin``."""

    is_active: bool = True
    is_staff: bool = True

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return perm == "jobledger.view_run"


def test_a_projects_own_user_model_decides_about_its_permissions() -> None:
    employee: Any = Employee()
    assert (rights.may_view(employee), rights.may_start(employee, "probe")) == (True, False)
    employee.is_active = False
    assert not rights.may_view(employee)


def test_existing_groups_are_not_changed() -> None:
    assert rights.create_groups() == ["Job viewers", "Job operators", "Schedule editors"]
    Group.objects.get(name="Job operators").permissions.clear()
    assert rights.create_groups() == []
    assert not Group.objects.get(name="Job operators").permissions.exists()
