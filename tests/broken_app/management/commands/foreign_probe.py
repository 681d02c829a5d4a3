"""A command that is no job, and cannot be imported either."""

import flux_capacitor  # type: ignore[import-not-found]  # noqa: F401
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Found only in the source."""
