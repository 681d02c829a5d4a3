"""Which of the service's groups a user gets from the groups that the single sign-on's provider names."""

import logging
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User

log = logging.getLogger(__name__)


def granted_by(claims: Mapping[str, Any]) -> list[Group]:
    """The groups that ``OIDC_GROUPS`` gives for what the provider says of a user; none: no staff rights.

    A group that does not exist gives nothing, and is named in the log.
    """
    claimed = claims.get(settings.OIDC_GROUPS_CLAIM)
    theirs = [claimed] if isinstance(claimed, str) else claimed if isinstance(claimed, list) else []
    names = {ours for theirs_name, ours in settings.OIDC_GROUPS if theirs_name in theirs}
    groups = list(Group.objects.filter(name__in=names))
    for missing in names.difference(group.name for group in groups):
        log.error("OIDC_GROUPS names the group %r, which does not exist.", missing)
    return groups


def apply(user: User, groups: list[Group]) -> None:
    """Make the user staff in these groups, or no longer staff without any.

    Groups that ``OIDC_GROUPS`` does not name are the administrators' own and stay.
    """
    user.is_staff = bool(groups)
    user.save(update_fields=["is_staff"])
    named = Group.objects.filter(name__in={ours for _, ours in settings.OIDC_GROUPS})
    user.groups.remove(*named.exclude(pk__in=[group.pk for group in groups]))
    user.groups.add(*groups)
