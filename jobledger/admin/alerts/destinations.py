"""Destinations of alerts: where they are sent. URLs can be entered, but are never shown again."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from jobledger.admin import audit_log, display
from jobledger.admin.alerts.audited import Audited
from jobledger.admin.fields import StoredSecretField
from jobledger.admin.options.widgets import SecretText
from jobledger.admin_site import page_url, page_view
from jobledger.alerts.sending import delivery
from jobledger.alerts.sending.destinations import NotDeliveredError, why_invalid
from jobledger.models import AlertDestination, DestinationKind

_KINDS = ((DestinationKind.MAIL, "Mail"), (DestinationKind.URL, "URL"))
"""Those that can be added."""


class DestinationForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker alone
    url = StoredSecretField(
        label="URL",
        help_text="For “URL”: an address of Apprise, such as slack://… or jsons://host/….",
    )

    class Meta:
        model = AlertDestination
        fields = ("name", "kind", "addresses", "url", "enabled")
        widgets: ClassVar[dict[str, Any]] = {"addresses": forms.Textarea(attrs={"rows": 2})}
        help_texts: ClassVar[dict[str, Any]] = {
            "addresses": "For “Mail”: one or more addresses, separated by commas.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored_url = self.instance.url
        if "kind" not in self.fields:  # the administrators, or a user who may only view it
            del self.fields["url"]
            return
        self.fields["url"].widget.is_stored = bool(self._stored_url)
        self.fields["kind"].choices = _KINDS  # type: ignore[attr-defined]

    def clean_addresses(self) -> str:
        """Each must be a valid address."""
        addresses: str = self.cleaned_data["addresses"]
        for address in AlertDestination(kind=DestinationKind.MAIL, addresses=addresses).mail_addresses:
            try:
                validate_email(address)
            except ValidationError as error:
                raise ValidationError(f"“{address}” is not a mail address.") from error
        return addresses

    def clean_url(self) -> str:
        """The new URL, or the stored one."""
        entered: SecretText = self.cleaned_data["url"]
        url = StoredSecretField.merged(entered, self._stored_url)
        if url and (problem := why_invalid(url)):
            raise ValidationError(problem)
        return url

    def clean(self) -> None:
        """What the kind needs is there, and nothing else is kept."""
        kind = self.cleaned_data.get("kind")
        if kind == DestinationKind.MAIL:
            self.cleaned_data["url"] = ""
            if "addresses" not in self.errors and not self.cleaned_data.get("addresses", "").strip():
                self.add_error("addresses", "Enter at least one address.")
        elif kind == DestinationKind.URL:
            self.cleaned_data["addresses"] = ""
            if "url" not in self.errors and not self.cleaned_data.get("url"):
                self.add_error("url", "Enter a URL.")


class DestinationAdmin(Audited):
    form = DestinationForm
    change_form_template = "jobledger/alerts/destination.html"
    list_display = ("name", "kind", "masked_address", "enabled", "last_delivery")
    readonly_fields = ("masked_address", "last_delivery")
    fields = ("name", "kind", "addresses", "url", "enabled", "last_delivery")

    def get_urls(self) -> list[URLPattern]:
        view = page_view(self.admin_site, require_POST(self.test_view))
        return [path("<int:pk>/test/", view, name="jobledger_alertdestination_test"), *super().get_urls()]

    def get_fields(self, request: HttpRequest, obj: AlertDestination | None = None) -> Any:
        if not self.has_change_permission(request, obj) and obj is not None:
            return ("name", "kind", "masked_address", "enabled", "last_delivery")
        # The administrators exist once, and stay what they are: see `alerts.default_rule`.
        if obj is not None and obj.kind == DestinationKind.ADMINS:
            return ("name", "masked_address", "enabled", "last_delivery")
        return self.fields if obj is not None else self.fields[:-1]

    @admin.display(description="address")
    def masked_address(self, destination: AlertDestination) -> str:
        return destination.masked_address

    @admin.display(description="last delivery")
    def last_delivery(self, destination: AlertDestination) -> SafeString | str:
        """Whether it works, as far as is known."""
        if destination.error:
            return f"not accepted ({destination.failures} times): {destination.error}"
        return display.when(destination.delivered_at) if destination.delivered_at else "none yet"

    def readable(self, obj: AlertDestination) -> dict[str, str]:
        return {
            "Name": obj.name,
            "Kind": obj.get_kind_display(),
            "Address": obj.masked_address,
            "Enabled": "yes" if obj.enabled else "no",
        }

    def secrets(self, obj: AlertDestination) -> dict[str, str]:
        return {"URL": obj.url}

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user")

    def has_change_permission(self, request: HttpRequest, obj: AlertDestination | None = None) -> bool:
        """A user's is what their account says. It can be deleted, which ends their subscriptions."""
        is_users = obj is not None and obj.kind == DestinationKind.USER
        return not is_users and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: AlertDestination | None = None) -> bool:
        """The administrators can be disabled, but not deleted: see ``alerts.default_rule``."""
        is_builtin = obj is not None and obj.kind == DestinationKind.ADMINS
        return not is_builtin and super().has_delete_permission(request, obj)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Nothing that would delete the administrators among others."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @method_decorator(sensitive_post_parameters("url"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a test at once, and say whether it was accepted."""
        destination = get_object_or_404(AlertDestination, pk=pk)
        if not self.has_change_permission(request, destination):
            raise PermissionDenied
        try:
            delivery.send_test(destination)
        except NotDeliveredError as error:
            self.message_user(request, f"The test was not accepted: {error}", messages.ERROR)
        else:
            self.message_user(request, f"“{destination.name}” has accepted the test.", messages.SUCCESS)
        audit_log.log_action(request.user, [destination], "Sent a test.")
        return HttpResponseRedirect(page_url("jobledger_alertdestination_change", pk))
