"""What every field of an option is: it shows a JSON value, and says one.

Whether a value is good is nobody's business here: no field refuses what the parser should judge. A field
that says nothing says ``None``: its option is left out, and the parser's default applies.
"""

import json
from argparse import OPTIONAL, ZERO_OR_MORE, Action
from typing import Any

from django import forms

from jobledger.admin.fields import number_in
from jobledger.admin.options import text
from jobledger.admin.options.layout import Place, takes_list
from jobledger.admin.options.text import read, read_lines, read_words, written, written_lines, written_words
from jobledger.admin.options.widgets import Optional, OptionalInput, Secret, SecretInput
from jobledger.jobs import json_text, secrets
from jobledger.jobs.options.argparse_internals import Kind, extends
from jobledger.jobs.options.parser import Option
from jobledger.jobs.options.values import number_or_text


class NotShownError(ValueError):
    """A stored value that its field cannot show: the option had another kind when it was stored."""


class OptionField(forms.Field):
    """A field that stands for one option."""

    hint: Any = ""
    """How to fill it in, where that needs saying."""
    says_default = False
    """Whether the field itself shows the default."""

    def __init__(self, place: Place, *, is_secret: bool = False) -> None:
        """With the option's own label and help."""
        self.place = place
        self.option: Option = place.option
        self.action: Action = place.action
        self.flags = text.flags(place)
        self.is_needed = place.option.is_required
        help_text = text.help_text(place, is_secret=is_secret)
        default = "" if is_secret or self.says_default else text.default_hint(place)
        super().__init__(
            required=False,
            label=text.label(place),
            help_text=text.sentences(help_text, default, str(self.hint)),
            widget=self._widget(),
        )

    def show(self, value: Any) -> Any:
        """What the field shows of a stored value. Raises NotShownError."""
        raise NotImplementedError

    def tell(self, shown: Any) -> Any:
        """The JSON value that the field says; None when it says nothing."""
        raise NotImplementedError

    def to_python(self, value: Any) -> Any:
        """Django's name for ``tell``."""
        return self.tell(value)

    def _widget(self) -> forms.Widget:
        return forms.TextInput(attrs=text_attributes(self.place))


def as_word(value: Any) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise NotShownError(f"{json.dumps(value, default=repr)} is neither text nor number")


def as_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise NotShownError(f"{json.dumps(value, default=repr)} is no list")


def may_be_bare(action: Action) -> bool:
    return action.nargs == OPTIONAL and bool(action.option_strings)


def text_attributes(place: Place) -> dict[str, Any]:
    """A keyboard with figures on a phone; never the browser's own judgement, which is not the parser's."""
    attributes: dict[str, Any] = {"autocomplete": "off", "spellcheck": "false", "class": "vTextField"}
    if place.action.type is int or isinstance(place.option.default, int):
        attributes["inputmode"] = "numeric"
    elif place.action.type is float or isinstance(place.option.default, float):
        attributes["inputmode"] = "decimal"
    if default := text.default_text(place):
        attributes["placeholder"] = default
    return attributes


class TextField(OptionField):
    """One value."""

    def show(self, value: Any) -> str:
        """A text or a number as it is written."""
        return written(as_word(value))

    def tell(self, shown: Any) -> Any:
        """A number where the parser wants one."""
        return number_or_text(self.action, read(shown)) if (shown or "").strip() else None


class LinesField(OptionField):
    """Several values, one a line."""

    hint = "One value a line."

    def show(self, value: Any) -> str:
        """A line for each."""
        return written_lines(map(as_word, as_list(value)))

    def tell(self, shown: Any) -> list[Any] | None:
        """The lines' values."""
        return [number_or_text(self.action, text) for text in _lines(shown)] or None

    def _widget(self) -> forms.Widget:
        return forms.Textarea(attrs={**text_attributes(self.place), "rows": 3, "cols": 40})


class GroupsField(LinesField):
    """Several values, each of several words: one of them a line."""

    hint = "One a line, its values parted by blanks."

    def show(self, value: Any) -> str:
        """A line of words for each."""
        return "\n".join(written_words(map(as_word, as_list(each))) for each in as_list(value))

    def tell(self, shown: Any) -> list[Any] | None:
        """The lines' words."""
        lines = [line for line in _plain_lines(shown) if line.strip()]
        found = [[number_or_text(self.action, word) for word in read_words(line)] for line in lines]
        return found or None


class CountField(OptionField):
    """How often a flag is given."""

    hint = "A number: how often it is given."

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
        return Optional(text=written_lines(map(as_word, texts)))

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
        words = read_words(shown.text)
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

    hint = "A value in JSON, with its quotes."

    def show(self, value: Any) -> str:
        """As JSON."""
        return json.dumps(value, ensure_ascii=False)

    def tell(self, shown: Any) -> Any:
        """Raises ValidationError for what is no JSON."""
        if not (shown or "").strip():
            return None
        try:
            return json_text.parse(shown)
        except ValueError as error:
            raise forms.ValidationError(f"This is no JSON: {error}.") from error


def _plain_lines(text: str | None) -> list[str]:
    return (text or "").replace("\r\n", "\n").split("\n")


def _lines(text: str | None) -> list[str]:
    return read_lines("\n".join(_plain_lines(text)))
