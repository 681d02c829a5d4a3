"""Statuses and times as the pages show them, as HTML, and where the pages link to runs."""

from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from jobledger.formats import exact, relative
from jobledger.models import Status

_NONE = mark_safe("&ndash;")


def when(time: datetime | None, now: datetime | None = None) -> SafeString:
    """The relative time, with the exact one as its tooltip; a dash for None."""
    if time is None:
        return _NONE
    return _time_element(time, relative(time, now or timezone.now()), title=exact(time))


def exactly_when(time: datetime | None, now: datetime | None = None) -> SafeString:
    """The exact time and, in brackets, the relative one; a dash for None."""
    if time is None:
        return _NONE
    return _time_element(time, f"{exact(time)} ({relative(time, now or timezone.now())})", title="")


def mark(shape: str, word: str | Promise) -> SafeString:
    """The symbol of this name in ``marks.svg`` with the word beside it."""
    # One file for all symbols, which the browser caches.
    symbol = f"{static('jobledger/marks.svg')}#{shape}"
    picture = format_html('<svg viewBox="0 0 16 16" aria-hidden="true"><use href="{}"></use></svg>', symbol)
    return format_html('<span class="mark mark-{}">{}{}</span>', shape, picture, word)


def status_mark(status: str) -> SafeString:
    """A run's status."""
    return mark(status, Status(status).label)


def run_url(run_id: UUID | str) -> str:
    """A run's page."""
    return reverse("admin:jobledger_run_change", args=[run_id])


class RunUrls:
    """URLs of runs by the thousand: Django's resolver is asked only once per kind of page."""

    def __init__(self) -> None:
        some_id = UUID(int=0)
        self._page = run_url(some_id).replace(str(some_id), "{}")
        self._list = reverse("admin:jobledger_run_changelist")

    def page(self, run_id: UUID) -> str:
        """A run's page."""
        return self._page.format(run_id)

    def filtered(
        self,
        *,
        job: str = "",
        status: str = "",
        schedule: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> str:
        """The list of runs narrowed down; ``since`` and ``until`` bound the time they were queued at."""
        query = {
            "job": job,
            "status": status,
            "schedule": schedule,
            "from": since.isoformat() if since else "",
            "to": until.isoformat() if until else "",
        }
        return f"{self._list}?{urlencode({name: value for name, value in query.items() if value})}"


def _time_element(time: datetime, text: str, *, title: str) -> SafeString:
    return format_html('<time datetime="{}" title="{}">{}</time>', time.isoformat(), title, text)
