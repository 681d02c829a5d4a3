"""Statuses and times as the admin's pages show them: as HTML, with the exact time behind a relative one."""

from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from jobledger.formats import duration, exact, relative, took
from jobledger.models import Status

__all__ = [
    "RunAddresses",
    "both",
    "duration",
    "exact",
    "mark",
    "of_status",
    "relative",
    "took",
    "when",
]


class RunAddresses:
    """Addresses, also by the thousand: Django is asked once for each kind of page."""

    def __init__(self) -> None:
        """Ask."""
        some = UUID(int=0)
        self._page = reverse("admin:jobledger_run_change", args=[some]).replace(str(some), "{}")
        self._list = reverse("admin:jobledger_run_changelist")

    def page(self, run_id: UUID) -> str:
        """A run's."""
        return self._page.format(run_id)

    def runs(
        self,
        *,
        job: str = "",
        status: str = "",
        schedule: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> str:
        """Those of a job or a schedule, in a state, queued at or after ``since`` and before ``until``."""
        asked = {
            "job": job,
            "status": status,
            "schedule": schedule,
            "from": since.isoformat() if since else "",
            "to": until.isoformat() if until else "",
        }
        return f"{self._list}?{urlencode({name: value for name, value in asked.items() if value})}"


def mark(shape: str, word: str | Promise) -> SafeString:
    """The shape of this name in ``marks.svg``, and the word beside it."""
    return format_html('<span class="mark mark-{}">{}{}</span>', shape, _picture(shape), word)


def of_status(status: str) -> SafeString:
    """A run's state."""
    return mark(status, Status(status).label)


def _picture(shape: str) -> SafeString:
    # One file for all shapes, which the browser keeps.
    address = f"{static('jobledger/marks.svg')}#{shape}"
    return format_html('<svg viewBox="0 0 16 16" aria-hidden="true"><use href="{}"></use></svg>', address)


def when(moment: datetime | None, now: datetime | None = None) -> SafeString:
    """How far away, with the exact moment for who points at it; a dash for none."""
    if moment is None:
        return _NEVER
    return _time(moment, relative(moment, now or timezone.now()), title=exact(moment))


def both(moment: datetime | None, now: datetime | None = None) -> SafeString:
    """The exact moment, and how far away it is; a dash for none."""
    if moment is None:
        return _NEVER
    shown = f"{exact(moment)} ({relative(moment, now or timezone.now())})"
    return _time(moment, shown, title="")


def _time(moment: datetime, shown: str, *, title: str) -> SafeString:
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), title, shown)


_NEVER = mark_safe("&ndash;")
