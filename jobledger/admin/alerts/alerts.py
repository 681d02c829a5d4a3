"""The alerts that were recorded, and whether they were delivered; to read only."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from jobledger.admin import display, rights
from jobledger.admin.alerts.listing import delivery_text, kind_mark
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.admin_site import ReadOnly
from jobledger.alerts.sending import message
from jobledger.models import Alert


class AlertAdmin(ReadOnly, ShownFiltersOnly):
    change_list_template = "jobledger/alerts/list.html"
    change_form_template = "jobledger/alerts/alert.html"
    list_display = ("when", "mark", "headline", "delivery")
    list_display_links = ("headline",)
    list_filter = ("kind", "time")
    search_fields = ("job", "schedule_name")
    list_per_page = 50
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        """Alerts without a run tell of schedules, such as one that never ran, which not everyone may view."""
        found: QuerySet[Alert] = super().get_queryset(request).prefetch_related("deliveries")
        return found if rights.may_view_schedules(request.user) else found.filter(run__isnull=False)

    @admin.display(description="time", ordering="time")
    def when(self, alert: Alert) -> SafeString:
        return display.when(alert.time)

    @admin.display(description="kind", ordering="kind")
    def mark(self, alert: Alert) -> SafeString:
        return kind_mark(alert)

    @admin.display(description="alert")
    def headline(self, alert: Alert) -> str:
        return message.headline(alert)

    @admin.display(description="delivery")
    def delivery(self, alert: Alert) -> str:
        return delivery_text(alert.deliveries.all())

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The message, and each of its deliveries."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        # With its run, or without if that is gone.
        alert = Alert.objects.select_related("run").get(pk=found.pk)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": message.headline(alert),
            "alert": alert,
            "mark": kind_mark(alert),
            "time": display.exactly_when(alert.time),
            "run_url": display.run_url(alert.run.pk) if alert.run else "",
            "message": message.compose([alert]),
            "deliveries": [
                (each, display.exactly_when(each.changed_at) if each.changed_at else "")
                for each in alert.deliveries.order_by("destination_name")
            ],
        }
        return TemplateResponse(request, self.change_form_template, context)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return rights.may_view(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Alert | None = None) -> bool:
        return rights.may_view(request.user)
