"""How a pause is told: until when, by whom and why."""

from datetime import datetime

from django.utils.translation import gettext as _

from tasks_app.jobs.admin import moments


def until(moment: datetime | None) -> str:
    """Its end, which may be open."""
    if moment is None:
        return _("until somebody resumes it")
    return _("until %(moment)s") % {"moment": moments.exact(moment)}


def told(end: datetime | None, *, reason: str, who: str = "") -> str:
    """``until 2026-11-22 12:00:00 UTC, by ann: database moves``."""
    by_whom = _(", by %(who)s") % {"who": who} if who else ""
    return f"{until(end)}{by_whom}" + (f": {reason}" if reason else "")
