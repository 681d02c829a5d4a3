"""The rule that exists from the start: mail the administrators, as cron does.

It has an effect if the project's ``ADMINS`` is not empty. It is created after the first migration, together
with its destination, and can be edited or deleted like any other rule. The destination cannot be deleted,
because its existence tells that the rule has been created.
"""

from datetime import timedelta
from typing import Any

from django.db import router
from django.db.models.signals import post_migrate

from jobledger.models import AlertDestination, AlertRule, DestinationKind

DESTINATION = "Administrators"
RULE = "Mail the administrators"
LATE_AFTER = timedelta(hours=1)
"""So that somebody hears of it if no worker has been there overnight."""


def connect() -> None:
    """Create the rule after the first migration."""
    post_migrate.connect(_migrated, dispatch_uid="jobledger.alerts.default_rule")


def create() -> None:
    """Create the destination and the rule, unless they were created before."""
    if AlertDestination.objects.filter(kind=DestinationKind.ADMINS).exists():
        return
    destination = AlertDestination.objects.create(name=DESTINATION, kind=DestinationKind.ADMINS)
    AlertRule.objects.create(name=RULE, late_after=LATE_AFTER).destinations.add(destination)


def _migrated(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    # Not after migrating back, when the tables are gone.
    is_forward = not any(is_backwards for _, is_backwards in plan)
    if sender.label == "jobledger" and using == router.db_for_write(AlertRule) and is_forward:
        create()
