"""Whether users may see jobs and schedules, also while they are not signed in.

``admin.rights`` has the permissions to do something.
"""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

User = AbstractBaseUser | AnonymousUser
"""The user of a request. Anonymous users have no permissions."""

VIEW = "jobledger.view_run"
VIEW_SCHEDULES = "django_celery_beat.view_periodictask"
CHANGE_SCHEDULES = "django_celery_beat.change_periodictask"


def has(user: User, permission: str) -> bool:
    """As the admin asks: a project's own users need not have Django's ``PermissionsMixin``."""
    has_perm = getattr(user, "has_perm", None)
    return bool(user.is_active and has_perm and has_perm(permission))


def may_view(user: User) -> bool:
    return has(user, VIEW)


def may_view_schedules(user: User) -> bool:
    """As usual in Django's admin, permission to change schedules includes permission to view them."""
    return has(user, VIEW_SCHEDULES) or has(user, CHANGE_SCHEDULES)


def may_sign_in(user: Any) -> bool:
    """Whether the user could open the admin's pages."""
    return bool(user.is_active and getattr(user, "is_staff", True))
