"""Maps the groups of the single sign-on provider to the service's groups."""

import logging
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User

log = logging.getLogger(__name__)


def granted_by(claims: Mapping[str, Any]) -> list[Group]:
    """The groups that ``OIDC_GROUPS`` grants for these claims. Without any, the user is not staff.

    A group that does not exist grants nothing, and is logged.
    """
    claimed = claims.get(settings.OIDC_GROUPS_CLAIM)
    theirs = [claimed] if isinstance(claimed, str) else claimed if isinstance(claimed, list) else []
    names = {ours for theirs_name, ours in settings.OIDC_GROUPS if theirs_name in theirs}
    groups = list(Group.objects.filter(name__in=names))
    for missing in names.difference(group.name for group in groups):
        log.error("OIDC_GROUPS names the group %r, which does not exist.", missing)
    return groups


def apply(user: User, groups: list[Group]) -> None:
    """Make the user staff with these groups, or remove staff status if there are none.

    Groups that are not in ``OIDC_GROUPS`` are managed by administrators, and left alone.
    """
    user.is_staff = bool(groups)
    user.save(update_fields=["is_staff"])
    named = Group.objects.filter(name__in={ours for _, ours in settings.OIDC_GROUPS})
    user.groups.remove(*named.exclude(pk__in=[group.pk for group in groups]))
    user.groups.add(*groups)
