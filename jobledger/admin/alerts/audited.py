"""A model's admin whose edits are in the audit log, with old and new values."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from jobledger.admin import audit_log
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.admin.rights import User
from jobledger.jobs.secrets import MASK


class Audited(ShownFiltersOnly):
    """Logs that an object was added, changed or deleted."""

    change_list_template = "jobledger/alerts/settings_list.html"

    def readable(self, obj: Any) -> dict[str, str]:
        """The object's values by their labels, without secrets."""
        raise NotImplementedError

    def secrets(self, obj: Any) -> dict[str, str]:
        """The values of which only the fact of a change is logged."""
        return {}

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Validates again what another user, or a second click, has made invalid just before it was saved."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except IntegrityError:
            return super().changeform_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        stored = self.model._default_manager.filter(pk=obj.pk).first() if change else None
        obj.values_before, obj.secrets_before = (
            (self.readable(stored), self.secrets(stored)) if stored else ({}, {})
        )
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Only then are the related objects saved as well."""
        super().save_related(request, form, formsets, change)
        before, now = form.instance, self.model._default_manager.get(pk=form.instance.pk)
        changes = audit_log.differences(before.values_before, self.readable(now))
        replaced = {
            name for name, text in self.secrets(now).items() if before.secrets_before.get(name, text) != text
        }
        changes += [
            audit_log.Change(name=name, old=MASK, new=f"{MASK} (changed)") for name in sorted(replaced)
        ]
        if changes:
            verb = audit_log.CHANGED if change else audit_log.ADDED
            audit_log.log_edit(request.user, form.instance, changes, verb=verb)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.log_own_deletion(request.user, obj)
        super().delete_model(request, obj)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            self.log_own_deletion(request.user, obj)
        super().delete_queryset(request, queryset)

    def log_own_deletion(self, user: User | str, obj: Model) -> None:
        """To be called before the object is deleted, by whatever deletes it."""
        changes = audit_log.differences(self.readable(obj), {})
        audit_log.log_edit(user, obj, changes, verb=audit_log.DELETED)
