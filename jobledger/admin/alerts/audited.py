"""A model's admin whose edits are in the audit log, with old and new values.

As that of a schedule, a form includes the version of what it shows, and is saved only if that has not changed
since. Otherwise, it says who has changed what, and can be saved once more to overwrite it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import strip_tags

from jobledger import clock
from jobledger.admin import audit_log
from jobledger.admin.fields import number_in
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.admin.rights import User
from jobledger.admin.schedules.editing.edit_form import SEEN, VERSION
from jobledger.admin.schedules.snapshot import fingerprint
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

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """To be changed, its row is locked: nobody else changes it before that is saved, or refused.

        Django opens a transaction for whatever changes it, and none for its history, say.
        """
        found = super().get_object(request, object_id, from_field)
        if found is None or request.method != "POST" or not connection.in_atomic_block:
            return found
        rows = self.model._default_manager.filter(pk=found.pk).select_for_update(no_key=True)
        return super().get_object(request, object_id, from_field) if rows.values_list("pk") else None

    def get_form(
        self,
        request: HttpRequest,
        obj: Any = None,
        change: bool = False,  # noqa: FBT001, FBT002 - Django's
        **kwargs: Any,
    ) -> Any:
        """The class of the form. If it was posted for an earlier version, it is not valid."""
        found = super().get_form(request, obj, change, **kwargs)
        if obj is None or request.method != "POST" or request.POST.get(VERSION) == self._version_of(obj):
            return found
        return _refusing(found, list(self._conflict(request, obj)))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **more: Any
    ) -> HttpResponse:
        if obj is not None:
            # An invalid form has changed the object. If it was outdated as well, it has said so.
            is_posted = request.method == "POST"
            stored = self.model._default_manager.get(pk=obj.pk) if is_posted else obj
            seen = audit_log.entries_of(obj).values_list("pk", flat=True).first() or 0
            context |= {VERSION: self._version_of(stored), SEEN: seen}
        more["obj"] = obj
        return super().render_change_form(request, context, *args, **more)

    def _version_of(self, obj: Any) -> str:
        return fingerprint(json.dumps([self.readable(obj), self.secrets(obj)], sort_keys=True))

    def _conflict(self, request: HttpRequest, obj: Any) -> Iterator[str]:
        """What to tell a user whose form is outdated."""
        kind, seen = self.opts.verbose_name, number_in(request.POST.get(SEEN, ""))
        if VERSION not in request.POST or seen is None:
            yield (
                f"What was sent does not say which version of this {kind} it is based on, so it might undo "
                "somebody else's changes. Nothing has been saved: save again to overwrite it."
            )
            return
        yield (
            f"This {kind} was changed while you were editing it. Your changes have not been saved: "
            "save again to overwrite it, or open the page again to see it as it is now."
        )
        newer = audit_log.entries_of(obj).filter(pk__gt=seen)
        for entry in audit_log.formatted(newer, clock.now()):
            changes = "; ".join(map(_words, entry.changes))
            yield f"{entry.user}, {strip_tags(entry.time)}: {changes or entry.text}"

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


def _words(change: audit_log.Change) -> str:
    # The lines of a text would run into each other.
    old, new = (", ".join(value.splitlines()) or "-" for value in (change.old, change.new))
    return f"{change.name}: {old} → {new}"


def _refusing(form: Any, texts: Sequence[str]) -> Any:
    """The class of a form that is not valid, for these reasons."""

    def clean(self: Any) -> Any:
        cleaned = form.clean(self)
        self.add_error(None, list(texts))
        return cleaned

    return type(form)(form.__name__, (form,), {"clean": clean, "__module__": form.__module__})
