"""Form fields for options: each one displays a JSON value and parses its input into one.

Fields leave validation to the parser. An empty field has no value: its option is omitted, and the parser's
default applies.
"""

import json
from argparse import ZERO_OR_MORE
from collections.abc import Sequence
from typing import Any

from django import forms

from jobledger.admin.fields import number_in
from jobledger.admin.options.job_options import JobOption
from jobledger.admin.options.quoting import join_groups, join_lines, quote, split_groups, split_lines, unquote
from jobledger.admin.options.widgets import OptionalInput, OptionalText, SecretInput, SecretText
from jobledger.jobs import json_text, secrets
from jobledger.jobs.options.argparse_internals import Kind, extends
from jobledger.jobs.options.argument_list import Occurrence
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.parser import Option
from jobledger.jobs.options.values import json_or_text, json_or_text_word, number_or_text, to_occurrences


class UnsuitableValueError(ValueError):
    """The field cannot display the stored value: the option was of a different kind when it was stored."""


class OptionField(forms.Field):
    """The field for one option of a job."""

    hint = ""
    """How to fill in the field, if that is not obvious."""
    shows_default = False
    """Whether the widget displays the default itself."""

    def __init__(self, job_option: JobOption, *, is_secret: bool = False) -> None:
        self.job_option = job_option
        self.option: Option = job_option.option
        self.action = job_option.action
        self.flags = job_option.flags
        self.is_required = job_option.option.is_required
        default = "" if is_secret or self.shows_default else job_option.default_hint
        super().__init__(
            required=False,
            label=job_option.label,
            help_text=_sentences(
                job_option.help(is_secret=is_secret), default, self.hint, job_option.worker_hint
            ),
            widget=self.make_widget(),
        )

    def format_value(self, value: Any) -> Any:
        """Converts a stored value for the widget. Raises UnsuitableValueError."""
        raise NotImplementedError

    def parse_input(self, entered: Any) -> Any:
        """The JSON value of the input; None if the option is omitted."""
        raise NotImplementedError

    def to_python(self, value: Any) -> Any:
        return self.parse_input(value)

    def make_widget(self) -> forms.Widget:
        return forms.TextInput(attrs=_text_attributes(self.job_option))


# Text inputs


class TextField(OptionField):
    """A single value."""

    def format_value(self, value: Any) -> str:
        return quote(_word(value))

    def parse_input(self, entered: Any) -> Any:
        """A number if the parser expects one."""
        return number_or_text(self.action, unquote(entered)) if (entered or "").strip() else None


class LinesField(OptionField):
    """Several values, one per line."""

    hint = "One value per line."

    def format_value(self, value: Any) -> str:
        return join_lines(map(_word, _list(value)))

    def parse_input(self, entered: Any) -> list[Any] | None:
        return [number_or_text(self.action, text) for text in split_lines(entered or "")] or None

    def make_widget(self) -> forms.Widget:
        return forms.Textarea(attrs={**_text_attributes(self.job_option), "rows": 3, "cols": 40})


class GroupsField(LinesField):
    """A list of groups: one group of values per line."""

    hint = "One group per line, its values separated by spaces."

    def format_value(self, value: Any) -> str:
        return join_groups(map(_word, _list(each)) for each in _list(value))

    def parse_input(self, entered: Any) -> list[Any] | None:
        groups = split_groups(entered or "")
        return [[number_or_text(self.action, word) for word in words] for words in groups] or None


class RepeatableField(LinesField):
    """The values of an author's action: one for each time that it is given."""

    hint = "One value per line, if it is given several times."

    def format_value(self, value: Any) -> str:
        return join_lines(map(_word, value if isinstance(value, list) else [value]))

    def parse_input(self, entered: Any) -> Any:
        values = super().parse_input(entered)
        return values[0] if values and len(values) == 1 else values


class CountField(OptionField):
    """How many times a flag is given."""

    hint = "How many times the flag is given."

    def format_value(self, value: Any) -> str:
        return _word(value)

    def parse_input(self, entered: Any) -> Any:
        """Anything other than a number is passed through for the parser to reject."""
        text = (entered or "").strip()
        number = number_in(text)
        return (text or None) if number is None else number

    def make_widget(self) -> forms.Widget:
        return forms.TextInput(attrs={"inputmode": "numeric", "class": "vIntegerField"})


class OptionalField(OptionField):
    """An option that may be given with or without a value."""

    def format_value(self, value: Any) -> OptionalText:
        if value is True or (self._is_list and value == []):
            return OptionalText(is_bare=True)
        texts = _list(value) if self._is_list else [value]
        return OptionalText(text=join_lines(map(_word, texts)))

    def parse_input(self, entered: Any) -> Any:
        """A value takes precedence over the checkbox."""
        values = [number_or_text(self.action, text) for text in split_lines(entered.text)]
        if self._is_list:
            return values or ([] if entered.is_bare else None)
        return values[0] if values else (True if entered.is_bare else None)

    @property
    def _is_list(self) -> bool:
        return self.action.nargs == ZERO_OR_MORE

    def make_widget(self) -> forms.Widget:
        const = "" if self._is_list or self.action.const is None else str(self.action.const)
        return OptionalInput(_text_attributes(self.job_option), is_list=self._is_list, const=const)


class SecretField(OptionField):
    """A write-only value."""

    widget: SecretInput

    def __init__(self, job_option: JobOption) -> None:
        """The default is not shown, as it may be a secret too."""
        super().__init__(job_option, is_secret=True)

    def format_value(self, value: Any) -> None:
        """Displays only whether a value is stored."""
        self.widget.is_stored = value not in (None, "")

    def parse_input(self, entered: SecretText) -> Any:
        """The text exactly as typed, or its words if the option takes a list."""
        if not entered.text:
            return None
        words = [word for words in split_groups(entered.text) for word in words]
        takes_list = self.job_option.takes_list
        if self.option.kind is Kind.LIST:
            return [words] if takes_list and not extends(self.action) else words
        return words if takes_list else entered.text

    @property
    def masked_value(self) -> Any:
        """The mask, in the shape that the option expects."""
        count = self.action.nargs if isinstance(self.action.nargs, int) else 1
        return self.parse_input(SecretText(text=" ".join([secrets.MASK] * count)))

    def make_widget(self) -> forms.Widget:
        return SecretInput(attrs={"autocomplete": "new-password", "spellcheck": "false"})


class JsonField(OptionField):
    """The JSON value itself, for options that no other field fits."""

    hint = "A JSON value, including quotes."

    def format_value(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def parse_input(self, entered: Any) -> Any:
        """Raises ValidationError if the input is not valid JSON."""
        if not (entered or "").strip():
            return None
        try:
            return json_text.parse(entered)
        except ValueError as error:
            raise forms.ValidationError(f"This is not valid JSON: {error}.") from error


class JsonOrTextField(JsonField):
    """Any JSON value. Text needs no quotes unless it is valid JSON itself."""

    hint = "Text, or a JSON value such as 5, true, [1, 2] or {}. A text that looks like one needs quotes."

    def format_value(self, value: Any) -> str:
        return json_or_text_word(value)

    def parse_input(self, entered: Any) -> Any:
        return json_or_text(entered.strip()) if (entered or "").strip() else None


# Choices


class ChoiceField(OptionField):
    """One of the parser's choices."""

    shows_default = True
    bare = '"'
    """Represents the option without a value. No quoted choice looks like this."""

    def format_value(self, value: Any) -> str:
        """Includes a stored value that is no longer a choice, for the parser to reject."""
        if value is True and self.job_option.may_lack_value:
            return self.bare
        text = quote(_word(value))
        _add_choices(self.widget, [text])
        return text

    def parse_input(self, entered: Any) -> Any:
        if entered == self.bare:
            return True
        return number_or_text(self.action, unquote(entered)) if entered else None

    def make_widget(self) -> forms.Widget:
        default = self.job_option.default
        blank = f"default ({default})" if default else "not given"
        bare = [(self.bare, "without a value")] if self.job_option.may_lack_value else []
        choices = [(quote(text), text) for text in self.job_option.choices]
        return forms.Select(choices=[("", blank), *bare, *choices])


class ChoicesField(OptionField):
    """Any number of the parser's choices, or of the constants that flags append to a list."""

    def format_value(self, value: Any) -> list[str]:
        """Includes a stored value that is no longer a choice, for the parser to reject."""
        texts = [quote(_word(each)) for each in _list(value)]
        _add_choices(self.widget, texts)
        return texts

    def parse_input(self, entered: Any) -> list[Any] | None:
        """Returns the values in the order of the choices."""
        return [self._value(unquote(text)) for text in entered or ()] or None

    def _value(self, text: str) -> Any:
        constants = {_word(flag.value): flag.value for flag in self.option.flags}
        return constants[text] if text in constants else number_or_text(self.action, text)

    def make_widget(self) -> forms.Widget:
        flags = [(quote(_word(flag.value)), flag.string) for flag in self.option.distinct_flags]
        choices = [(quote(text), text) for text in self.job_option.choices]
        return forms.CheckboxSelectMultiple(choices=flags or choices)


class FlagField(OptionField):
    """A single flag, as a checkbox."""

    def format_value(self, value: Any) -> bool:
        return bool(_occurrences(self.option, value))

    def parse_input(self, entered: Any) -> Any:
        return self.option.flags[0].value if entered else None

    def make_widget(self) -> forms.Widget:
        return forms.CheckboxInput()


class SwitchField(OptionField):
    """One of several flags, such as ``--cache`` and ``--no-cache``."""

    shows_default = True

    def format_value(self, value: Any) -> str:
        strings = [occurrence.flag for occurrence in _occurrences(self.option, value)]
        return next((flag.json for flag in self.option.flags if flag.string in strings), "")

    def parse_input(self, entered: Any) -> Any:
        return next((flag.value for flag in self.option.distinct_flags if flag.json == entered), None)

    def make_widget(self) -> forms.Widget:
        flags = [(flag.json, flag.string) for flag in self.option.distinct_flags]
        return forms.Select(choices=[("", self._blank()), *flags])

    def _blank(self) -> str:
        default = self.option.default
        same = [flag.string for flag in self.option.flags if flag.stores is default or flag.stores == default]
        return f"default ({same[0]})" if same else "not given"


class BooleanField(OptionField):
    """The value of an option with ``type=bool``: a typed "false" would be true."""

    shows_default = True

    def format_value(self, value: Any) -> str:
        if not isinstance(value, bool):
            raise UnsuitableValueError(f"{json.dumps(value, default=repr)} is neither true nor false")
        return json.dumps(value)

    def parse_input(self, entered: Any) -> Any:
        return {"true": True, "false": False}.get(entered)

    def make_widget(self) -> forms.Widget:
        default = self.option.default
        blank = f"default ({json.dumps(default)})" if isinstance(default, bool) else "not given"
        return forms.Select(choices=[("", blank), ("true", "true"), ("false", "false")])


class SubcommandField(OptionField):
    """A subcommand; its options are shown below."""

    def format_value(self, value: Any) -> str:
        """The subcommand's name, even if an alias is stored."""
        return self.option.subcommand_name(value) or quote(_word(value))

    def parse_input(self, entered: Any) -> Any:
        return entered or None

    def make_widget(self) -> forms.Widget:
        choices = [("", "none"), *((name, name) for name in self.option.subcommands)]
        return forms.Select(choices=choices, attrs={"data-subcommands": self.job_option.name})


def _occurrences(option: Option, value: Any) -> Sequence[Occurrence]:
    try:
        return to_occurrences(option, value)
    except OptionsError as error:
        raise UnsuitableValueError(str(error)) from error


def _word(value: Any) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise UnsuitableValueError(f"{json.dumps(value, default=repr)} is neither text nor a number")


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise UnsuitableValueError(f"{json.dumps(value, default=repr)} is not a list")


def _add_choices(widget: Any, texts: Sequence[str]) -> None:
    known = dict(widget.choices)
    widget.choices = [*widget.choices, *((text, text) for text in texts if text not in known)]


def _text_attributes(job_option: JobOption) -> dict[str, Any]:
    """Numeric keypads on phones, but no browser validation: it could disagree with the parser."""
    attributes: dict[str, Any] = {"autocomplete": "off", "spellcheck": "false", "class": "vTextField"}
    if job_option.action.type is int or isinstance(job_option.option.default, int):
        attributes["inputmode"] = "numeric"
    elif job_option.action.type is float or isinstance(job_option.option.default, float):
        attributes["inputmode"] = "decimal"
    if default := job_option.default:
        attributes["placeholder"] = default
    return attributes


def _sentences(*texts: str) -> str:
    """Joins the texts, adding a full stop to each but the last if it has no punctuation."""
    *firsts, last = [text for text in texts if text] or [""]
    return " ".join([*(text if text[-1] in ".!?:)" else f"{text}." for text in firsts), last])
