"""The service's tables."""

from jobledger.models.alert import (
    Alert,
    AlertDelivery,
    AlertDestination,
    AlertRule,
    AlertState,
    DeliveryState,
    DestinationKind,
)
from jobledger.models.api_token import ApiClient, ApiToken, Scope
from jobledger.models.audit_entry import AuditEntry
from jobledger.models.backfill import Backfill, BackfillSlot
from jobledger.models.calendar import Calendar, CalendarKind, ScheduleCalendar
from jobledger.models.chain import ChainStart, Predecessor
from jobledger.models.dead_letter import DeadLetter
from jobledger.models.following import Feed, FeedKind, Subscription
from jobledger.models.open_form import OpenForm
from jobledger.models.outgoing import Ping, PingEvent, SentryReport, SentryReportKind
from jobledger.models.output import RunOutput, Stream
from jobledger.models.process import ProcessKind, ServiceProcess
from jobledger.models.run import Run, RunAttempt
from jobledger.models.schedule import (
    After,
    DeclaredSchedule,
    Dialect,
    NextSlot,
    Pause,
    SchedulePolicy,
    pause_terms,
)
from jobledger.models.states import (
    AWAITS_RESULT,
    CANCEL_ACCEPTED,
    COMPLETED,
    FAILURES,
    LIVE,
    OPEN,
    PROBLEMS,
    SUCCESSES,
    Status,
    Trigger,
)
from jobledger.models.total import CountedUntil, RunTotal, UncountedRun
from jobledger.reason import NO_REASON, Reason, Why

__all__ = [
    "AWAITS_RESULT",
    "CANCEL_ACCEPTED",
    "COMPLETED",
    "FAILURES",
    "LIVE",
    "NO_REASON",
    "OPEN",
    "PROBLEMS",
    "SUCCESSES",
    "After",
    "Alert",
    "AlertDelivery",
    "AlertDestination",
    "AlertRule",
    "AlertState",
    "ApiClient",
    "ApiToken",
    "AuditEntry",
    "Backfill",
    "BackfillSlot",
    "Calendar",
    "CalendarKind",
    "ChainStart",
    "CountedUntil",
    "DeadLetter",
    "DeclaredSchedule",
    "DeliveryState",
    "DestinationKind",
    "Dialect",
    "Feed",
    "FeedKind",
    "NextSlot",
    "OpenForm",
    "Pause",
    "Ping",
    "PingEvent",
    "Predecessor",
    "ProcessKind",
    "Reason",
    "Run",
    "RunAttempt",
    "RunOutput",
    "RunTotal",
    "ScheduleCalendar",
    "SchedulePolicy",
    "Scope",
    "SentryReport",
    "SentryReportKind",
    "ServiceProcess",
    "Status",
    "Stream",
    "Subscription",
    "Trigger",
    "UncountedRun",
    "Why",
    "pause_terms",
]
