"""Chooses the form field for each option."""

from argparse import OPTIONAL, ZERO_OR_MORE

from jobledger.admin.options.fields import (
    BooleanField,
    ChoiceField,
    ChoicesField,
    CountField,
    FlagField,
    GroupsField,
    JsonField,
    JsonOrTextField,
    LinesField,
    OptionalField,
    OptionField,
    RepeatableField,
    SecretField,
    SubcommandField,
    SwitchField,
    TextField,
)
from jobledger.admin.options.job_options import JobOption
from jobledger.jobs.options.argparse_internals import Kind, extends, is_own_action
from jobledger.jobs.options.values import json_or_text


def field_for(job_option: JobOption, *, is_secret: bool) -> OptionField:
    """The most suitable field for the option."""
    if is_secret:
        return SecretField(job_option)
    match job_option.option.kind:
        case Kind.SUBCOMMAND:
            return SubcommandField(job_option)
        case Kind.COUNT:
            return CountField(job_option)
        case Kind.LIST:
            return _field_for_list(job_option)
        case _:
            return (_field_for_value if job_option.option.taker else _field_for_flags)(job_option)


def _field_for_flags(job_option: JobOption) -> OptionField:
    has_several = len(job_option.option.distinct_flags) > 1
    return SwitchField(job_option) if has_several else FlagField(job_option)


def _field_for_value(job_option: JobOption) -> OptionField:
    if job_option.action.type is json_or_text:
        return JsonOrTextField(job_option)
    if job_option.option.flags:
        return JsonField(job_option)
    if job_option.action.type is bool:
        is_single = job_option.action.nargs is None
        return BooleanField(job_option) if is_single else JsonField(job_option)
    if not is_own_action(job_option.action) and not job_option.choices:
        return RepeatableField(job_option) if job_option.action.nargs is None else JsonField(job_option)
    if job_option.takes_list:
        return _field_for_values(job_option)
    if job_option.choices:
        return ChoiceField(job_option)
    return OptionalField(job_option) if job_option.may_lack_value else TextField(job_option)


def _field_for_values(job_option: JobOption) -> OptionField:
    nargs = job_option.action.nargs
    if nargs in ("*", "+") and job_option.choices:
        return ChoicesField(job_option)
    # An empty list (the flag without values) may differ from omitting the option.
    may_be_empty = nargs == ZERO_OR_MORE and job_option.action.option_strings
    return OptionalField(job_option) if may_be_empty else LinesField(job_option)


def _field_for_list(job_option: JobOption) -> OptionField:
    taker = job_option.option.taker
    if taker is None:
        return ChoicesField(job_option)
    if job_option.option.flags or taker.nargs == OPTIONAL:
        return JsonField(job_option)
    if job_option.takes_list and not extends(taker):
        return GroupsField(job_option)
    return ChoicesField(job_option) if job_option.choices else LinesField(job_option)
