"""Which form field fits which of argparse's actions. What no other field fits is a text, or JSON."""

from argparse import OPTIONAL, ZERO_OR_MORE

from tasks_app.jobs.admin.option_choices import (
    ChoiceField,
    ChoicesField,
    CommandField,
    FlagField,
    SwitchField,
    choice_texts,
    distinct_flags,
)
from tasks_app.jobs.admin.option_field import OptionField, may_be_bare
from tasks_app.jobs.admin.option_places import Place, extends, takes_list
from tasks_app.jobs.admin.option_values import (
    CountField,
    GroupsField,
    JsonField,
    LinesField,
    OptionalField,
    SecretField,
    TextField,
)
from tasks_app.jobs.defining.argument_options import Kind


def field_for(place: Place, *, is_secret: bool) -> OptionField:
    """The field that fits the option best."""
    if is_secret:
        return SecretField(place)
    match place.option.kind:
        case Kind.COMMAND:
            return CommandField(place)
        case Kind.COUNT:
            return CountField(place)
        case Kind.LIST:
            return _list_field(place)
        case _:
            return _value_field(place) if place.option.taker else _flag_field(place)


def _flag_field(place: Place) -> OptionField:
    return SwitchField(place) if len(distinct_flags(place.option)) > 1 else FlagField(place)


def _value_field(place: Place) -> OptionField:
    taker = place.action
    if place.option.flags:
        return JsonField(place)
    if takes_list(taker):
        return _many_field(place)
    if choice_texts(place):
        return ChoiceField(place)
    return OptionalField(place) if may_be_bare(taker) else TextField(place)


def _many_field(place: Place) -> OptionField:
    if place.action.nargs in ("*", "+") and choice_texts(place):
        return ChoicesField(place)
    # Given without values a list is empty, which need not be what leaving it out means.
    may_be_bare = place.action.nargs == ZERO_OR_MORE and place.action.option_strings
    return OptionalField(place) if may_be_bare else LinesField(place)


def _list_field(place: Place) -> OptionField:
    taker = place.option.taker
    if taker is None:
        return ChoicesField(place)
    if place.option.flags or taker.nargs == OPTIONAL:
        return JsonField(place)
    if takes_list(taker) and not extends(taker):
        return GroupsField(place)
    return ChoicesField(place) if choice_texts(place) else LinesField(place)
