"""Where runs are read: one run's page, and the list of some of them."""

from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse


class RunAddresses:
    """Addresses, also by the thousand: Django is asked once for each kind of page."""

    def __init__(self) -> None:
        """Ask."""
        some = UUID(int=0)
        self._page = reverse("admin:jobs_run_change", args=[some]).replace(str(some), "{}")
        self._list = reverse("admin:jobs_run_changelist")

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
