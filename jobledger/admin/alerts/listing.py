"""Alerts as they are listed, with the state of their deliveries."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils.safestring import SafeString

from jobledger.admin import display
from jobledger.admin_site import page_url
from jobledger.alerts.sending import message
from jobledger.jobs.declaration import AlertKind
from jobledger.models import Alert, AlertDelivery, DeliveryState

MARKS: Mapping[str, str] = {
    AlertKind.FAILED: "failed",
    AlertKind.TIMED_OUT: "timed_out",
    AlertKind.LOST: "lost",
    AlertKind.MISSED: "missed",
    AlertKind.LATE: "queued",
    AlertKind.SLOW: "running",
    AlertKind.SILENT: "expired",
    AlertKind.PAUSED: "paused",
    AlertKind.RECOVERED: "succeeded",
    AlertKind.CANCELLED: "cancelled",
    AlertKind.SKIPPED: "skipped",
    AlertKind.FLAPPING: "broken",
}
"""The symbol of each kind."""


@dataclass(frozen=True, kw_only=True)
class ListedAlert:
    alert: Alert
    delivery: str

    @property
    def headline(self) -> str:
        return message.headline(self.alert)

    @property
    def time(self) -> SafeString:
        return display.when(self.alert.time)

    @property
    def url(self) -> str:
        return page_url("jobledger_alert_change", self.alert.pk)


def kind_mark(alert: Alert) -> SafeString:
    return display.mark(MARKS.get(alert.kind, ""), alert.get_kind_display())


def listed_alerts(alerts: QuerySet[Alert]) -> list[ListedAlert]:
    return [
        ListedAlert(alert=alert, delivery=delivery_text(alert.deliveries.all()))
        for alert in alerts.prefetch_related("deliveries")
    ]


def delivery_text(deliveries: Iterable[AlertDelivery]) -> str:
    """``delivered to team; waiting: pager``."""
    names = defaultdict[str, list[str]](list)
    for delivery in deliveries:
        names[delivery.state].append(delivery.destination_name)
    return (
        "; ".join(_state_text(state, names[state]) for state in DeliveryState if names[state])
        or "no destination"
    )


def _state_text(state: DeliveryState, names: Sequence[str]) -> str:
    joined = ", ".join(sorted(names))
    return f"delivered to {joined}" if state is DeliveryState.DELIVERED else f"{state.label}: {joined}"
