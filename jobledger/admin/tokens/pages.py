"""API tokens in the admin: everybody's own, created here, shown once, and revoked.

Those of others are seen and revoked with permissions of their own. Nobody creates a token for anybody else.
"""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.text import capfirst
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from jobledger import clock
from jobledger.admin import display, rights
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.admin.tokens import changes as tokens
from jobledger.admin_site import ReadOnly, page_url, page_view
from jobledger.api import addresses
from jobledger.jobs import json_text, registry, secrets
from jobledger.jobs.registry import Job
from jobledger.models import ApiToken, Scope

PER_PAGE = 50
VIEW_ALL, REVOKE_ALL = "jobledger.view_apitoken", "jobledger.revoke_apitoken"


class TokenForm(forms.Form):
    """A new token of the user who fills it in; for one job, if there is one."""

    name = forms.CharField(max_length=100, help_text="What uses it, such as ci.")
    scope = forms.ChoiceField(
        label="May be used for",
        choices=[(each.value, each.label) for each in (Scope.READ, Scope.FULL)],
    )
    options = forms.CharField(
        label="Fixed options",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text='A JSON object, such as {"days": 7}. Empty: the request has the options.',
    )
    days = forms.IntegerField(label="Days until it expires", min_value=1)

    def __init__(self, data: Any = None, *, job: Job | None) -> None:
        initial = {"days": tokens.default_lifetime().days}
        super().__init__(data, label_suffix="", initial=initial)
        self.job = job
        longest = tokens.max_lifetime().days
        self.fields["days"] = forms.IntegerField(
            label="Days until it expires", min_value=1, max_value=longest, help_text=f"At most {longest}."
        )
        del self.fields["scope" if job else "options"]

    def clean_options(self) -> dict[str, Any] | None:
        text = self.cleaned_data["options"].strip()
        if not text:
            return None
        try:
            return json_text.parse_options(text)
        except ValueError as error:
            raise ValidationError(capfirst(str(error))) from error

    def create(self, user: Any) -> tokens.NewToken | None:
        """The new token; None, with errors in the form, if it cannot be created."""
        data = self.cleaned_data
        try:
            return tokens.create(
                user,
                author=user,
                name=data["name"],
                scope=Scope.START if self.job else Scope(data["scope"]),
                lifetime=timedelta(days=data["days"]),
                job=self.job,
                options=data.get("options"),
            )
        except ValidationError as error:
            self.add_error(None, error.messages)
            return None


class TokenAdmin(ReadOnly, ShownFiltersOnly):
    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Whether the user has, or may have, anything here."""
        if obj is not None and obj.owner_id != request.user.pk and not _sees_all(request):
            return False
        return addresses.is_on() and (
            rights.may_create_tokens(request.user) or _sees_all(request) or _own(request).exists()
        )

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Tokens are deleted only together with their owner."""
        return not isinstance(obj, ApiToken) or _may_revoke(request, obj)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A token is revoked instead, and stays on record."""
        raise PermissionDenied

    def get_urls(self) -> list[URLPattern]:
        view = page_view(self.admin_site, self.revoke_view)
        return [
            path("<int:token_id>/revoke/", view, name="jobledger_apitoken_revoke"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The user's own tokens, or all, newest first."""
        self._check_view_permission(request)
        found = ApiToken.objects.all() if _sees_all(request) else _own(request)
        page = Paginator(found.select_related("owner").order_by("-pk"), PER_PAGE).get_page(
            request.GET.get("p")
        )
        context = {
            "title": "API tokens",
            "page": page,
            "rows": [_row(request, token) for token in page],
            "may_create": rights.may_create_tokens(request.user),
        }
        return self._render(request, "list.html", context)

    @method_decorator([never_cache, sensitive_post_parameters(), sensitive_variables()])
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form, and then the page that shows the new token, which is never shown again."""
        job = _job(request)
        if not addresses.is_on() or not rights.may_create_tokens(request.user):
            raise PermissionDenied
        if job is not None and not rights.may_start(request.user, job.name):
            raise PermissionDenied
        form = TokenForm(request.POST or None, job=job)
        created = form.create(request.user) if form.is_valid() else None
        title = f"A token that starts {job.name}" if job else "Create an API token"
        if created is None:
            return self._render(request, "add.html", {"title": title, "form": form, "job": job})
        root = addresses.absolute(request, "")
        context = {
            "title": "The new token",
            "token": created.token,
            "text": created.text,
            "expires": display.exactly_when(created.token.expires_at, clock.now()),
            "example": addresses.absolute(request, f"start/{created.text}") if job else f"{root}token",
        }
        return self._render(request, "created.html", context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """There is nothing to see of a token beside what the list shows."""
        return HttpResponseRedirect(page_url("jobledger_apitoken_changelist"))

    @method_decorator(require_POST)
    def revoke_view(self, request: HttpRequest, token_id: int) -> HttpResponse:
        """Revoke the token at once."""
        token = get_object_or_404(ApiToken, pk=token_id)
        if not _may_revoke(request, token):
            raise PermissionDenied
        if tokens.revoke(token, author=request.user):
            self.message_user(request, f"The token “{token.name}” has been revoked.", messages.SUCCESS)
        else:
            self.message_user(request, "The token was already revoked.", messages.WARNING)
        return HttpResponseRedirect(page_url("jobledger_apitoken_changelist"))

    def _check_view_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        site = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"jobledger/tokens/{template}", {**site, **context})


def _own(request: HttpRequest) -> QuerySet[ApiToken]:
    return ApiToken.objects.filter(owner=request.user.pk)


def _sees_all(request: HttpRequest) -> bool:
    return request.user.has_perm(VIEW_ALL)


def _may_revoke(request: HttpRequest, token: ApiToken) -> bool:
    return token.owner_id == request.user.pk or request.user.has_perm(REVOKE_ALL)


def _job(request: HttpRequest) -> Job | None:
    """The only job of the new token, if the URL names one."""
    name = request.GET.get("job", "")
    if not name:
        return None
    if (job := registry.all_jobs().get(name)) is None:
        raise PermissionDenied
    return job


def _row(request: HttpRequest, token: ApiToken) -> dict[str, Any]:
    now = clock.now()
    options = secrets.masked(token.job, token.options) if token.options else None
    return {
        "token": token,
        "use": f"starting {token.job}" if token.job else token.get_scope_display(),
        "options": json_text.format_inline(options) if options else "",
        "state": _state(token),
        "expires": display.exactly_when(token.expires_at, now),
        "last_used": display.exactly_when(token.last_used_at, now) if token.last_used_at else "never",
        "may_revoke": token.is_usable(now) and _may_revoke(request, token),
    }


def _state(token: ApiToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    if not token.is_usable(clock.now()):
        return "expired"
    return "valid" if tokens.may_use_admin(token.owner) else "its owner may not use the admin"
