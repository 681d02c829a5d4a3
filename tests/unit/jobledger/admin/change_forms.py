"""Saves a page of the admin as a browser does: with what is hidden in its form."""

import re
from typing import Any

from django.test import Client

from jobledger.admin.schedules.editing.edit_form import SEEN, VERSION


def hidden_in(client: Client, url: str) -> dict[str, Any]:
    """What the form says of what it shows."""
    return hidden_in_text(client.get(url).text)


def hidden_in_text(text: str) -> dict[str, Any]:
    """The same, of a page that has been read."""
    form = re.search(r'<form [^>]*id="\w+_form".*?</form>', text, re.DOTALL)
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[0] if form else "")
    return {name: value for name, value in found if name in (VERSION, SEEN)}


def save(client: Client, url: str, values: dict[str, Any], **options: Any) -> Any:
    """Open the page, fill it in with these values, and save it."""
    return client.post(url, {**values, **hidden_in(client, url)}, **options)
