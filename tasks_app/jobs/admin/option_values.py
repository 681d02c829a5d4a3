"""Fields for values that are written: texts, lists, counts, and what may be left out or must not be seen."""

import json
from argparse import ZERO_OR_MORE
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from tasks_app.jobs.admin import option_texts
from tasks_app.jobs.admin.asked_numbers import number_in
from tasks_app.jobs.admin.option_field import OptionField, as_list, as_word, text_attributes
from tasks_app.jobs.admin.option_places import Place, extends, takes_list
from tasks_app.jobs.admin.option_widgets import Optional, OptionalInput, Secret, SecretInput
from tasks_app.jobs.defining import json_text, secrets
from tasks_app.jobs.defining.argument_options import Kind
from tasks_app.jobs.defining.argument_values import number_or_text


class TextField(OptionField):
    """One value."""

    def show(self, value: Any) -> str:
        """A text or a number as it is written."""
        return option_texts.written(as_word(value))

    def tell(self, shown: Any) -> Any:
        """A number where the parser wants one."""
        return number_or_text(self.action, option_texts.read(shown)) if (shown or "").strip() else None


class LinesField(OptionField):
    """Several values, one a line."""

    hint = gettext_lazy("One value a line.")

    def show(self, value: Any) -> str:
        """A line for each."""
        return option_texts.written_lines(map(as_word, as_list(value)))

    def tell(self, shown: Any) -> list[Any] | None:
        """The lines' values."""
        return [number_or_text(self.action, text) for text in _lines(shown)] or None

    def _widget(self) -> forms.Widget:
        return forms.Textarea(attrs={**text_attributes(self.place), "rows": 3, "cols": 40})


class GroupsField(LinesField):
    """Several values, each of several words: one of them a line."""

    hint = gettext_lazy("One a line, its values parted by blanks.")

    def show(self, value: Any) -> str:
        """A line of words for each."""
        return "\n".join(option_texts.written_words(map(as_word, as_list(each))) for each in as_list(value))

    def tell(self, shown: Any) -> list[Any] | None:
        """The lines' words."""
        lines = [line for line in _plain_lines(shown) if line.strip()]
        found = [
            [number_or_text(self.action, word) for word in option_texts.read_words(line)] for line in lines
        ]
        return found or None


class CountField(OptionField):
    """How often a flag is given."""

    hint = gettext_lazy("A number: how often it is given.")

    def show(self, value: Any) -> str:
        """The number."""
        return as_word(value)

    def tell(self, shown: Any) -> Any:
        """The number; another text as it is, for the parser's side to refuse."""
        text = (shown or "").strip()
        number = number_in(text)
        return (text or None) if number is None else number

    def _widget(self) -> forms.Widget:
        return forms.TextInput(attrs={"inputmode": "numeric", "class": "vIntegerField"})


class OptionalField(OptionField):
    """An option that may be given with a value, or without."""

    def show(self, value: Any) -> Optional:
        """The value, or the tick."""
        if value is True or (self._is_list and value == []):
            return Optional(is_bare=True)
        texts = as_list(value) if self._is_list else [value]
        return Optional(text=option_texts.written_lines(map(as_word, texts)))

    def tell(self, shown: Any) -> Any:
        """A value counts more than the tick."""
        values = [number_or_text(self.action, text) for text in _lines(shown.text)]
        if self._is_list:
            return values or ([] if shown.is_bare else None)
        return values[0] if values else (True if shown.is_bare else None)

    @property
    def _is_list(self) -> bool:
        return self.action.nargs == ZERO_OR_MORE

    def _widget(self) -> forms.Widget:
        const = "" if self._is_list or self.action.const is None else str(self.action.const)
        return OptionalInput(text_attributes(self.place), is_list=self._is_list, const=const)


class SecretField(OptionField):
    """A value that comes in and never goes out."""

    widget: SecretInput
    hint = ""

    def __init__(self, place: Place) -> None:
        """Without the default, which may be a secret as well."""
        super().__init__(place, is_secret=True)

    def show(self, value: Any) -> None:
        """Nothing; but the page says that there is a stored value."""
        self.widget.is_stored = value not in (None, "")

    def tell(self, shown: Secret) -> Any:
        """The text exactly as it was typed; for a list its words."""
        if not shown.text:
            return None
        words = option_texts.read_words(shown.text)
        if self.option.kind is Kind.LIST:
            return [words] if takes_list(self.action) and not extends(self.action) else words
        return words if takes_list(self.action) else shown.text

    @property
    def masked(self) -> Any:
        """A value that shows nothing, in the shape that the option wants."""
        count = self.action.nargs if isinstance(self.action.nargs, int) else 1
        return self.tell(Secret(text=" ".join([secrets.MASK] * count)))

    def _widget(self) -> forms.Widget:
        return SecretInput(attrs={"autocomplete": "new-password", "spellcheck": "false"})


class JsonField(OptionField):
    """What no other field fits: the JSON value itself."""

    hint = gettext_lazy("A value in JSON, with its quotes.")

    def show(self, value: Any) -> str:
        """As JSON."""
        return json.dumps(value, ensure_ascii=False)

    def tell(self, shown: Any) -> Any:
        """Raises ValidationError for what is no JSON."""
        if not (shown or "").strip():
            return None
        try:
            return json_text.read(shown)
        except ValueError as error:
            raise forms.ValidationError(_("This is no JSON: %s.") % error) from error


def _plain_lines(text: str | None) -> list[str]:
    return (text or "").replace("\r\n", "\n").split("\n")


def _lines(text: str | None) -> list[str]:
    return option_texts.read_lines("\n".join(_plain_lines(text)))
