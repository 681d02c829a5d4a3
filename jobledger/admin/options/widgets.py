"""Widgets for which HTML has no single element: an optional value, and a write-only secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms


@dataclass(frozen=True, kw_only=True)
class OptionalText:
    """The input for an option that may also be given without a value."""

    text: str = ""
    is_bare: bool = False


@dataclass(frozen=True, kw_only=True)
class SecretText:
    """The submitted data of a secret's field."""

    text: str = ""
    is_cleared: bool = False
    is_stored: bool = False
    """According to the page. Not to be trusted: it comes from the client."""


class OptionalInput(forms.TextInput):
    """A text input, with a checkbox to give the option without a value."""

    template_name = "jobledger/options/optional_input.html"

    def __init__(
        self, attrs: dict[str, Any] | None = None, *, is_list: bool = False, const: str = ""
    ) -> None:
        """With ``is_list``, the input has several lines. ``const`` is the value of the checked box."""
        super().__init__(attrs)
        self.is_list = is_list
        self.const = const

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        current = value if isinstance(value, OptionalText) else OptionalText()
        context = super().get_context(name, current.text, attrs)
        context["widget"].update(is_bare=current.is_bare, is_list=self.is_list, const=self.const)
        return context

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> OptionalText:
        return OptionalText(text=data.get(name, ""), is_bare=bool(data.get(f"{name}-bare")))


class SecretInput(forms.PasswordInput):
    """A password input whose value is never sent to the browser, with a checkbox to remove it."""

    template_name = "jobledger/options/secret_input.html"
    is_stored = False

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Includes whether a value is stored, but never the value."""
        is_cleared = isinstance(value, SecretText) and value.is_cleared
        context = super().get_context(name, None, attrs)
        context["widget"].update(is_stored=self.is_stored, is_cleared=is_cleared)
        return context

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> SecretText:
        return SecretText(
            text=data.get(name, ""),
            is_cleared=bool(data.get(f"{name}-clear")),
            is_stored=bool(data.get(f"{name}-stored")),
        )
