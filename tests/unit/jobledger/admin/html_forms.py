"""Reads a form from a page and returns the data to submit, like a browser without JavaScript."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass(kw_only=True)
class HtmlForm:
    """The fields of a form, by name."""

    values: dict[str, list[str]] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)
    """The options of each field with choices."""

    def after(self, **changes: Any) -> dict[str, Any]:
        """The data to submit. ``__`` in a name stands for ``-``; None removes a field."""
        named = {name.replace("__", "-"): value for name, value in changes.items()}
        return {name: value for name, value in {**self.values, **named}.items() if value is not None}


class _Reader(HTMLParser):
    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.form_id, self.found = form_id, HtmlForm()
        self._is_inside, self._select, self._textarea = False, "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._is_inside = given.get("id") == self.form_id
        if not self._is_inside:
            return
        name = given.get("name") or ""
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            self._choice(self._select, given.get("value") or "", is_chosen="selected" in given)
        elif tag == "textarea":
            self._textarea = name
            self.found.values[name] = [""]
        elif tag == "input" and given.get("type") in ("checkbox", "radio"):
            self._choice(name, given.get("value") or "on", is_chosen="checked" in given)
        elif tag == "input" and given.get("type") != "submit" and name:
            self.found.values[name] = [given.get("value") or ""]

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            # Browsers drop a leading line break.
            text = self.found.values[self._textarea][0] + data
            self.found.values[self._textarea] = [text.removeprefix("\n")]

    def _choice(self, name: str, value: str, *, is_chosen: bool) -> None:
        self.found.choices.setdefault(name, []).append(value)
        if is_chosen:
            self.found.values.setdefault(name, []).append(value)


def form_in(page: str, form_id: str) -> HtmlForm:
    """The form with this id."""
    reader = _Reader(form_id)
    reader.feed(page)
    return reader.found
