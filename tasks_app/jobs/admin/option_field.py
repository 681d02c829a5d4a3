"""What every field of an option is: it shows a JSON value, and says one.

Whether a value is good is nobody's business here: no field refuses what the parser should judge. A field
that says nothing says ``None``: its option is left out, and the parser's default applies.
"""

import json
from argparse import OPTIONAL, Action
from typing import Any

from django import forms

from tasks_app.jobs.admin import option_labels
from tasks_app.jobs.admin.option_places import Place
from tasks_app.jobs.defining.argument_options import Option


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
        self.flags = option_labels.flags(place)
        self.is_needed = option_labels.is_required(place)
        help_text = option_labels.help_text(place, is_secret=is_secret)
        default = "" if is_secret or self.says_default else option_labels.default_hint(place)
        super().__init__(
            required=False,
            label=option_labels.label(place),
            help_text=option_labels.sentences(help_text, default, str(self.hint)),
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
    if default := option_labels.default_text(place):
        attributes["placeholder"] = default
    return attributes
