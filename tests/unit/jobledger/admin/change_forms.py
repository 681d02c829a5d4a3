"""Saves a page of the admin as a browser does: with what is hidden in its form."""

from typing import Any

from django.test import Client

from jobledger.admin.schedules.editing.edit_form import SEEN, VERSION


def hidden_in(client: Client, url: str) -> dict[str, Any]:
    """What the form says of what it shows."""
    shown = client.get(url).context
    return {name: shown[name] for name in (VERSION, SEEN)}


def save(client: Client, url: str, values: dict[str, Any], **options: Any) -> Any:
    """Open the page, fill it in with these values, and save it."""
    return client.post(url, {**values, **hidden_in(client, url)}, **options)
