"""Parsers of commands that are the same for each run, so that they are made once for all of them.

To make one takes a tenth of all that a run costs. But a command may compute what it adds, such as the default
``date.today()``, each time. So a parser is only kept if the code of ``add_arguments`` cannot do so: it calls
nothing but the parser's own methods, and refers to nothing but functions and classes, as in ``type=int``.
The code is inspected and never called. In doubt, a parser is made for each run.
"""

import builtins
import dis
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobledger.jobs.options.argparse_internals import actions_of

_METHODS = {"add_argument", "add_argument_group", "add_mutually_exclusive_group"}
_CALLS = {"CALL", "CALL_KW"}
_READS = {"LOAD_ATTR", "LOAD_METHOD"}
_HARMLESS = {
    *("RESUME", "NOP", "CACHE", "EXTENDED_ARG", "PRECALL", "KW_NAMES", "PUSH_NULL", "POP_TOP", "BUILD_TUPLE"),
    *("LOAD_CONST", "LOAD_SMALL_INT", "RETURN_CONST", "RETURN_VALUE", "LOAD_FAST", "LOAD_FAST_BORROW"),
    *("BUILD_LIST", "LIST_EXTEND"),
    *("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST", "STORE_FAST_LOAD_FAST"),
}
"""Of those that are not listed, nothing is known, such as those of later versions of Python."""
_CONSTANTS = (str, int, float, type(None))
_OURS = {"django.core.management.base", "jobledger.command", "jobledger.jobs.declaration"}
"""Modules whose classes add the same arguments to each parser of a class."""


def parser_for_run(command: BaseCommand, name: str) -> CommandParser | None:
    """The parser of a new instance of a command; None if the command itself has to make it."""
    cls: Any = type(command)
    return _kept(cls, name) if _is_as_declared(command) else None


def _is_as_declared(command: BaseCommand) -> bool:
    """Whether the instance has no method of its own."""
    return not {"add_arguments", "create_parser", "add_base_argument"} & vars(command).keys()


@lru_cache(maxsize=256)
def _kept(cls: Any, name: str) -> CommandParser | None:
    if not _makes_the_same(cls):
        return None
    parser = cls().create_parser("", name)
    return parser if _has_constant_defaults(parser) else None


def _makes_the_same(cls: type[BaseCommand]) -> bool:
    for each in cls.__mro__:
        own = vars(each).keys() & {"__init__", "__new__", "create_parser", "add_base_argument"}
        if own and each.__module__ not in _OURS and each is not object:
            return False
        declared = vars(each).get("add_arguments")
        if declared is not None and not (each.__module__ in _OURS or _is_constant(declared)):
            return False
    return True


def _is_constant(function: object) -> bool:
    """Whether what the function adds is the same each time."""
    if not isinstance(function, FunctionType) or function.__closure__ or function.__defaults__:
        return False
    calls = methods = 0
    for instruction, value in _references(function):
        calls += instruction.opname in _CALLS
        methods += instruction.opname in _READS and instruction.argval in _METHODS
        if not _is_harmless(instruction, value):
            return False
    # Each of them calls one of the methods.
    return calls == methods


def _references(function: FunctionType) -> Iterator[tuple[dis.Instruction, Any]]:
    """The instructions; those that read a global variable, or something in a module, with the value."""
    value: Any = None
    for each in dis.get_instructions(function):
        if each.opname == "LOAD_GLOBAL":
            value = function.__globals__.get(each.argval, getattr(builtins, each.argval, None))
        elif each.opname in _READS and isinstance(value, ModuleType):
            value = vars(value).get(each.argval)
        else:
            value = None
        yield each, value


def _is_harmless(instruction: dis.Instruction, value: object) -> bool:
    if instruction.opname == "LOAD_GLOBAL":
        return isinstance(value, FunctionType | BuiltinFunctionType | type | ModuleType)
    if instruction.opname in _READS:
        return instruction.argval in _METHODS or isinstance(value, FunctionType | BuiltinFunctionType | type)
    return instruction.opname in _HARMLESS | _CALLS


def _has_constant_defaults(parser: ArgumentParser) -> bool:
    """Whether no run can change what the next one gets, such as a list."""
    values = (value for each in actions_of(parser) for value in (each.default, each.const))
    return all(isinstance(value, _CONSTANTS) for value in values)
