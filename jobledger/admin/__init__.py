"""The admin: for editing schedules, starting jobs and viewing runs."""

from collections.abc import Mapping

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.db.models import Model
from django_celery_beat.models import PeriodicTask

from jobledger.admin import following
from jobledger.admin.alerts.alerts import AlertAdmin
from jobledger.admin.alerts.destinations import DestinationAdmin
from jobledger.admin.alerts.rules import RuleAdmin
from jobledger.admin.audit_log import AuditEntryAdmin
from jobledger.admin.backfills.admin import BackfillAdmin
from jobledger.admin.calendars import CalendarAdmin
from jobledger.admin.dead_letters import DeadLetterAdmin
from jobledger.admin.following import FeedAdmin, SubscriptionAdmin
from jobledger.admin.home import page as home
from jobledger.admin.jobs import views as jobs
from jobledger.admin.runs.admin import RunAdmin
from jobledger.admin.schedules.admin import ScheduleAdmin
from jobledger.admin.tokens.pages import TokenAdmin
from jobledger.admin_site import JobsAdminSite, ModelPages
from jobledger.models import (
    Alert,
    AlertDestination,
    AlertRule,
    ApiToken,
    AuditEntry,
    Backfill,
    Calendar,
    DeadLetter,
    Feed,
    Run,
    Subscription,
)
from jobledger.schedules.signals import TIMING_FIELDS

__all__ = [
    "AlertAdmin",
    "AuditEntryAdmin",
    "BackfillAdmin",
    "CalendarAdmin",
    "DeadLetterAdmin",
    "DestinationAdmin",
    "FeedAdmin",
    "RuleAdmin",
    "RunAdmin",
    "ScheduleAdmin",
    "SubscriptionAdmin",
    "TokenAdmin",
    "register",
]

_ADMINS: Mapping[type[Model], type[ModelPages]] = {
    PeriodicTask: ScheduleAdmin,
    Run: RunAdmin,
    Backfill: BackfillAdmin,
    Alert: AlertAdmin,
    AlertRule: RuleAdmin,
    AlertDestination: DestinationAdmin,
    Subscription: SubscriptionAdmin,
    Feed: FeedAdmin,
    Calendar: CalendarAdmin,
    DeadLetter: DeadLetterAdmin,
    ApiToken: TokenAdmin,
    AuditEntry: AuditEntryAdmin,
}


def register(site: AdminSite, *, instead_of: AdminSite | None = None) -> None:
    """Add the service's pages to the site, or move them to it. Repeating it changes nothing."""
    for each in filter(None, (site, instead_of)):
        # Also the pages of django-celery-beat: its timing models are edited on the page of a schedule.
        models = (*_ADMINS, *TIMING_FIELDS)
        each.unregister([model for model in models if each.is_registered(model)])
    for model, model_admin in _ADMINS.items():
        site.register(model, model_admin)
    if isinstance(site, JobsAdminSite):
        site.home_context = home.context
        site.page_urls = (home.urls, jobs.urls, following.urls)


register(admin.site)
