"""Logs for machines and for people: what a project's ``LOGGING`` can use, and the service's own processes do.

``formatter`` is a factory for a formatter: JSON, one object per line, or text. Both name the run that logs,
mask secrets, and make one line of each message. ``RunFields`` is a filter that only adds the run's fields to
records, for a formatter of another kind. See docs/how-to/read-the-logs.md.
"""

from jobledger.logs.formatters import formatter
from jobledger.logs.running import RunFields

__all__ = ["RunFields", "formatter"]
