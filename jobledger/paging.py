"""Reading many rows a page at a time, while rows of earlier pages are changed or deleted."""

from typing import Any

from django.db.models import Q


def is_after(time_field: str, time: Any, pk: Any) -> Q:
    """The rows after the one with this time and key, in the order of both.

    The first condition says nothing that the others do not, but a database can begin there in its index.
    """
    is_later = Q(**{f"{time_field}__gt": time}) | Q(pk__gt=pk)
    return Q(**{f"{time_field}__gte": time}) & is_later
