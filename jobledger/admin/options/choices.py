"""Fields for values that are chosen: the parser's choices, flags, and sub-commands."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django import forms

from jobledger.admin.options.fields import NotShownError, OptionField, as_list, as_word, may_be_bare
from jobledger.admin.options.layout import Place, main_name, subcommand_names
from jobledger.admin.options.text import default_text, read, written
from jobledger.jobs.options import values
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.parser import Flag, Option
from jobledger.jobs.options.values import number_or_text, to_occurrences

MOST_CHOICES = 200
"""A longer list of choices is no help in choosing; its option is a text."""


class ChoiceField(OptionField):
    """One of the parser's choices."""

    says_default = True
    bare = '"'
    """Stands for the option without a value: no choice is written so."""

    def show(self, value: Any) -> str:
        """The choice's text; what is no choice any more is shown as well, for the parser to refuse."""
        if value is True and may_be_bare(self.action):
            return self.bare
        text = written(as_word(value))
        if text not in dict(self.widget.choices):
            self.widget.choices = [*self.widget.choices, (text, text)]
        return text

    def tell(self, shown: Any) -> Any:
        """A number where the parser wants one."""
        if shown == self.bare:
            return True
        return number_or_text(self.action, read(shown)) if shown else None

    def _widget(self) -> forms.Widget:
        default = default_text(self.place)
        blank = f"default ({default})" if default else "not given"
        bare = [(self.bare, "without a value")] if may_be_bare(self.action) else []
        chosen = [(written(text), text) for text in choice_texts(self.place)]
        return forms.Select(choices=[("", blank), *bare, *chosen])


class ChoicesField(OptionField):
    """Any number of the parser's choices, or of the constants that flags add to a list."""

    def show(self, value: Any) -> list[str]:
        """The texts of those that are ticked."""
        texts = [written(as_word(each)) for each in as_list(value)]
        unknown = [(text, text) for text in texts if text not in dict(self.widget.choices)]
        self.widget.choices = [*self.widget.choices, *unknown]
        return texts

    def tell(self, shown: Any) -> list[Any] | None:
        """In the order of the choices."""
        return [self._value(read(text)) for text in shown or ()] or None

    def _value(self, text: str) -> Any:
        tokens = {as_word(flag.value): flag.value for flag in self.option.flags}
        return tokens[text] if text in tokens else number_or_text(self.action, text)

    def _widget(self) -> forms.Widget:
        tokens = ((as_word(flag.value), flag.string) for flag in distinct_flags(self.option))
        flags = [(written(token), flag) for token, flag in tokens]
        chosen = [(written(text), text) for text in choice_texts(self.place)]
        return forms.CheckboxSelectMultiple(choices=flags or chosen)


class FlagField(OptionField):
    """A flag that is given or not."""

    def show(self, value: Any) -> bool:
        """Whether the value says that it is given."""
        return bool(_occurrences(self.option, value))

    def tell(self, shown: Any) -> Any:
        """What the flag stands for."""
        return self.option.flags[0].value if shown else None

    def _widget(self) -> forms.Widget:
        return forms.CheckboxInput()


class SwitchField(OptionField):
    """One of several flags, such as ``--cache`` and ``--no-cache``."""

    says_default = True

    def show(self, value: Any) -> str:
        """The flag."""
        occurrences = _occurrences(self.option, value)
        shown = {each.flag: _token_key(flag) for each in occurrences for flag in self._flags_like(each)}
        return next(iter(shown.values()), "")

    def tell(self, shown: Any) -> Any:
        """What the flag stands for."""
        return next((flag.value for flag in distinct_flags(self.option) if _token_key(flag) == shown), None)

    def _flags_like(self, occurrence: Any) -> Iterator[Flag]:
        return (flag for flag in self.option.flags if flag.string == occurrence.flag)

    def _widget(self) -> forms.Widget:
        flags = [(_token_key(flag), flag.string) for flag in distinct_flags(self.option)]
        return forms.Select(choices=[("", self._blank()), *flags])

    def _blank(self) -> str:
        default = self.option.default
        same = [flag.string for flag in self.option.flags if flag.stores is default or flag.stores == default]
        return f"default ({same[0]})" if same else "not given"


class CommandField(OptionField):
    """A sub-command; its options stand below."""

    def show(self, value: Any) -> str:
        """Its name, also for an alias."""
        return main_name(self.action, value) or written(as_word(value))

    def tell(self, shown: Any) -> Any:
        """The name."""
        return shown or None

    def _widget(self) -> forms.Widget:
        names = [(name, name) for name in subcommand_names(self.action)]
        return forms.Select(choices=[("", "none"), *names], attrs={"data-subcommands": self.place.name})


def choice_texts(place: Place) -> list[str]:
    """The choices as somebody would type them; none where they cannot be listed."""
    choices: Any = place.action.choices
    if place.option.taker is None or not isinstance(choices, Iterable):
        return []
    try:
        listed = list(choices) if len(choices) <= MOST_CHOICES else []  # type: ignore[arg-type]
    except TypeError:
        return []
    return [str(values.scalar(place.action, choice)) for choice in listed]


def distinct_flags(option: Option) -> list[Flag]:
    """Of the flags that say the same one, with the longest name."""
    found: dict[str, Flag] = {}
    for flag in option.flags:
        found.setdefault(_token_key(flag), flag)
    return list(found.values())


def _token_key(flag: Flag) -> str:
    return json.dumps(flag.value)


def _occurrences(option: Option, value: Any) -> list[Any]:
    try:
        return list(to_occurrences(option, value))
    except OptionsError as error:
        raise NotShownError(str(error)) from error
