"""Viewing, starting, cancelling, editing and pausing are rights of their own; groups for them are ready."""

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User

from jobledger.admin import rights

pytestmark = pytest.mark.django_db


def somebody(*, group: str = "", permission: str = "", is_active: bool = True) -> User:
    user = User.objects.create(username="somebody", is_active=is_active)
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
def test_each_ready_group_may_more_than_the_one_before(group: str, may: tuple[bool, ...]) -> None:
    rights.create_groups()
    user = somebody(group=group)
    assert user.has_perm("jobledger.view_run")
    assert may == (
        rights.may_start(user, "probe"),
        rights.may_cancel(user),
        rights.may_pause(user),
        user.has_perm(rights.CHANGE_SCHEDULES),
    )


def test_starting_can_be_narrowed_to_one_job() -> None:
    rights.create_groups()
    user = somebody(permission="start_job_probe")
    assert rights.may_start(user, "probe")
    assert rights.may_start_any(user)
    assert not rights.may_start(user, "lasting")


def test_who_may_start_nothing_may_start_no_job() -> None:
    rights.create_groups()
    assert not rights.may_start_any(somebody())


def test_an_account_that_was_switched_off_may_nothing() -> None:
    rights.create_groups()
    assert not rights.may_start(somebody(permission="start_run", is_active=False), "probe")


def test_nobody_may_nothing() -> None:
    assert not rights.may_start(AnonymousUser(), "probe")


def test_a_group_that_the_team_has_changed_stays_as_it_is() -> None:
    assert rights.create_groups() == ["Job viewers", "Job operators", "Schedule editors"]
    Group.objects.get(name="Job operators").permissions.clear()
    assert rights.create_groups() == []
    assert not Group.objects.get(name="Job operators").permissions.exists()
