"""Inputs that HTML has no single element for: a value that may be left out, and one that is never shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms


@dataclass(frozen=True, kw_only=True)
class OptionalText:
    """An option that may also be given without its value."""

    text: str = ""
    is_bare: bool = False


@dataclass(frozen=True, kw_only=True)
class SecretText:
    """What came back of a field that shows nothing."""

    text: str = ""
    is_cleared: bool = False
    is_stored: bool = False
    """As the page claims; whoever posts it may claim anything."""


class OptionalInput(forms.TextInput):
    """A text, or a tick for being given without one."""

    template_name = "jobledger/options/optional_input.html"

    def __init__(
        self, attrs: dict[str, Any] | None = None, *, is_list: bool = False, const: str = ""
    ) -> None:
        """With ``is_list`` the text has several lines; ``const`` is what the checkbox stands for."""
        super().__init__(attrs)
        self.is_list = is_list
        self.const = const

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Beside the text's own, whether it is ticked."""
        shown = value if isinstance(value, OptionalText) else OptionalText()
        context = super().get_context(name, shown.text, attrs)
        context["widget"].update(is_bare=shown.is_bare, is_list=self.is_list, const=self.const)
        return context

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> OptionalText:
        """Both parts."""
        return OptionalText(text=data.get(name, ""), is_bare=bool(data.get(f"{name}-bare")))


class SecretInput(forms.PasswordInput):
    """A password that is never sent to the browser, and a tick that removes the stored one."""

    template_name = "jobledger/options/secret_input.html"
    is_stored = False

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Whether there is a stored value, and never that value."""
        is_cleared = isinstance(value, SecretText) and value.is_cleared
        context = super().get_context(name, None, attrs)
        context["widget"].update(is_stored=self.is_stored, is_cleared=is_cleared)
        return context

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> SecretText:
        """All three parts."""
        return SecretText(
            text=data.get(name, ""),
            is_cleared=bool(data.get(f"{name}-clear")),
            is_stored=bool(data.get(f"{name}-stored")),
        )
