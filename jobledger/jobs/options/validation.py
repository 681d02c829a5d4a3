"""Validates an argument list without any effect, in any process: for forms, schedules and system checks.

The parser itself opens the files that ``FileType`` options name (and empties those to be written), and calls
the ``type`` functions and actions of the command's author. So the list is validated by a stand-in: a parser
with the same arguments that does the same, except for what only a worker can know. ``worker_only`` says which
options these are, and why: of their values, only the shape is validated here. The command's own parser
validates them when the job runs.
"""

from argparse import Action, ArgumentParser, FileType, Namespace
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import EnumMeta
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from jobledger.jobs.options.argparse_internals import (
    Kind,
    ParserStopped,
    actions_of,
    all_parsers,
    converter_of,
    exclusive_groups,
    is_own_action,
    kind_of,
    subcommands_of,
)
from jobledger.jobs.options.argument_list import levels, options_errors, syntax_of
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.purity import is_pure

_CONSTANT_CHOICES: tuple[type, ...] = (
    tuple,
    list,
    set,
    frozenset,
    dict,
    range,
    str,
    EnumMeta,
    type({}.keys()),
    type({}.values()),
)


def validate(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """What the command would receive, as far as that can be known here. Raises OptionsError."""
    # Django's commands have this message instead of argparse's.
    if not argv and (message := getattr(parser, "missing_args_message", None)):
        raise OptionsError(message)
    with options_errors(parser, argv):
        return _StandIn(parser).parse_args(list(argv))


def worker_only(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, str]:
    """The given options that only a worker can validate, by ``dest``, each with the reason."""
    return {
        action.dest: why
        for each, occurrences in levels(parser, argv)
        for action in dict.fromkeys(occurrence.action for occurrence in occurrences)
        if (why := why_worker_only(each, action))
    }


@dataclass(frozen=True, kw_only=True)
class _Left:
    """What a job leaves to its worker, besides what its parser shows."""

    dests: frozenset[str] = frozenset()
    choices_are_data: bool = False


_NOTHING_LEFT = _Left()
_left_to_worker: WeakKeyDictionary[ArgumentParser, _Left] = WeakKeyDictionary()


def leave_to_worker(parser: ArgumentParser, dests: Collection[str], *, choices_are_data: bool) -> None:
    """Let only a worker validate these options and, if they were queried for the parser, all choices."""
    # A system check reports an invalid declaration.
    names = frozenset(dests) if isinstance(dests, list | tuple) else frozenset()
    for each in all_parsers(parser):
        _left_to_worker[each] = _Left(dests=names, choices_are_data=choices_are_data)


def _is_common(action: Action) -> bool:
    return action.dest == "verbosity" or bool(subcommands_of(action))


def why_worker_only(parser: ArgumentParser, action: Action) -> str:
    """Why only a worker can validate the values of an action; empty if any process can."""
    converter = converter_of(parser, action)
    left = _left_to_worker.get(parser, _NOTHING_LEFT)
    if action.dest in left.dests:
        return "the job leaves it to its worker"
    if isinstance(converter, FileType) or converter is open:
        return "it names a file of the worker"
    if not is_pure(converter):
        return f"its type, {_name(converter)}, may depend on files or data of the worker"
    if not (action.choices is None or isinstance(action.choices, _CONSTANT_CHOICES)):
        return "its choices are computed"
    if left.choices_are_data and action.choices is not None and not _is_common(action):
        return "its choices come from the database"
    if not (is_own_action(action) or is_pure(action)):
        return f"its action, {_name(type(action))}, may do more than store a value"
    return ""


def _name(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__)


class _StandIn(ArgumentParser):
    """A parser with the arguments of another one."""

    def __init__(self, parser: ArgumentParser) -> None:
        super().__init__(**syntax_of(parser))
        self._original = parser
        groups = {
            action: self.add_mutually_exclusive_group(required=group.is_required)
            for group in exclusive_groups(parser)
            for action in group.actions[:1]
        }
        members = {
            action: groups[group.actions[0]] for group in exclusive_groups(parser) for action in group.actions
        }
        for action in actions_of(parser):
            members.get(action, self).add_argument(*action.option_strings, **self._settings(action))

    def error(self, message: str) -> NoReturn:
        raise ParserStopped(message)

    def print_usage(self, file: object = None) -> None:
        """Print nothing, also if the author's action asks for it."""

    print_help = print_usage

    def _settings(self, action: Action) -> dict[str, Any]:
        is_known = not why_worker_only(self._original, action)
        settings = {
            "action": _Understudy,
            "original": action,
            "acts": is_known and kind_of(action) is not Kind.EXIT,
            "dest": action.dest,
            "nargs": action.nargs,
            "const": action.const,
            "default": action.default,
            "metavar": action.metavar,
            "type": converter_of(self._original, action) if is_known else None,
            "choices": action.choices if is_known and not subcommands_of(action) else None,
        }
        # Of a positional, argparse derives this from ``nargs``.
        return {**settings, "required": action.required} if action.option_strings else settings


class _Understudy(Action):
    """Does what the original action does, or only stores the words if that may have effects."""

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        *,
        original: Action,
        acts: bool,
        **settings: Any,
    ) -> None:
        super().__init__(option_strings, dest, **settings)
        self._original, self._acts = original, acts

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if subparsers := subcommands_of(self._original):
            self._choose(subparsers, namespace, values)
        elif self._acts:
            self._original(parser, namespace, values, option_string)
        else:
            setattr(namespace, self.dest, values)

    def _choose(self, subparsers: Mapping[str, ArgumentParser], namespace: Namespace, values: Any) -> None:
        name, *argv = values
        if name not in subparsers:
            raise OptionsError(f"{name!r} is none of the subcommands: {', '.join(subparsers)}")
        setattr(namespace, self.dest, name)
        chosen = validate(subparsers[name], argv)
        vars(namespace).update(vars(chosen))
