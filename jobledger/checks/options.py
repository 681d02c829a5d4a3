"""Checks of the options of jobs: what argparse accepts, but what does not work in all ways to start a job."""

import inspect
from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.core import checks
from django.core.checks import CheckMessage

from jobledger.escapes import escaped
from jobledger.jobs import registry
from jobledger.jobs.options import OptionsError, option_names
from jobledger.jobs.options.argparse_internals import (
    Kind,
    actions_of,
    all_parsers,
    kind_of,
)
from jobledger.jobs.options.parser import BASE_STRINGS, OVERLAP_OPTIONS, RESERVED_OPTIONS

TYPE_BOOL = "uses type=bool, so on the command line every text but an empty one is true, also 'False'"
ONE_SHOT = "has choices that can be read only once, so that sooner or later no value is one of them"
NO_DEST = "has subcommands without a name for the option that chooses one"
OTHER_KIND = (
    "shares its dest, {dest}, with an option of another kind, and can be given on the command line only"
)
RESERVED = "has the dest {dest}, which Django uses for itself, so only the command line can give it"
SELF = "has the dest self, which no Celery message can give"
GENERATOR = "has a handle() that contains `yield`, so calling it does not run it"


class _Fault(NamedTuple):
    text: str
    hint: str
    id: str = "jobledger.W021"


def check_options(**kwargs: Any) -> list[CheckMessage]:
    """Every option of every job can be given in all four ways."""
    return [
        checks.Warning(escaped(f"The job {job.name} {fault.text}."), hint=fault.hint, id=fault.id)
        for job in registry.all_jobs().values()
        for fault in faults_of(job)
    ]


def faults_of(job: registry.Job) -> Iterator[_Fault]:
    """What does not work, and how to change it."""
    handle = inspect.unwrap(job.command_class.handle)
    if inspect.isgeneratorfunction(handle) or inspect.isasyncgenfunction(handle):
        yield _Fault(GENERATOR, "Remove the yield, or move it to a function that handle() consumes.")
    try:
        parser = job.create_validating_parser()
    except OptionsError as error:
        hint = "add_arguments() must work in every process: move queries and files to handle()."
        yield _Fault(str(error), hint)
        return
    yield from _unknown_names(job, parser)
    for each in all_parsers(parser):
        for action in actions_of(each):
            yield from _faults_of_action(each, action)


def _unknown_names(job: registry.Job, parser: ArgumentParser) -> Iterator[_Fault]:
    valid = option_names(parser)
    naming = {
        "secret_options": ("declares {} as secret", "jobledger.W009"),
        "worker_options": ("leaves {} to its worker", "jobledger.W021"),
    }
    for attribute, (text, check) in naming.items():
        declared: object = getattr(job.declaration, attribute)
        # Another check reports anything else.
        names = declared if isinstance(declared, list | tuple) else ()
        if unknown := sorted(str(name) for name in names if name not in valid):
            yield _Fault(
                f"{text.format(', '.join(unknown))}, but has no such option",
                f"{attribute} must contain the dest of each option; unknown names have no effect.",
                check,
            )


def _faults_of_action(parser: ArgumentParser, action: Action) -> Iterator[_Fault]:
    is_ours = action.dest in OVERLAP_OPTIONS or BASE_STRINGS.intersection(action.option_strings)
    if is_ours or kind_of(action) is Kind.EXIT:
        return
    name = "/".join(action.option_strings) or action.dest
    if kind_of(action) is Kind.SUBCOMMAND and action.dest == SUPPRESS:
        yield _Fault(NO_DEST, 'Give it one: add_subparsers(dest="action").')
        return
    for trap in _traps(parser, action):
        yield _Fault(f"has an option, {name}, that {trap.text.format(dest=action.dest)}", trap.hint)


def _traps(parser: ArgumentParser, action: Action) -> Iterator[_Fault]:
    options = [each for each in actions_of(parser) if kind_of(each) is not Kind.EXIT]
    first = next(each for each in options if each.dest == action.dest)
    if action.type is bool:
        yield _Fault(TYPE_BOOL, 'Use action="store_true" or argparse.BooleanOptionalAction.')
    if hasattr(action.choices, "__next__"):
        yield _Fault(ONE_SHOT, "Make a list of them: choices=list(…).")
    if action.dest in RESERVED_OPTIONS:
        yield _Fault(RESERVED, "Give it another one: add_argument(…, dest=…).")
    elif kind_of(action) is not kind_of(first):
        yield _Fault(OTHER_KIND, "Give it a dest of its own: add_argument(…, dest=…).")
    if action.dest == "self":
        yield _Fault(SELF, "Give it another one: add_argument(…, dest=…).")
