"""Which functions depend on nothing but their arguments, so that they may be called in any process.

A process that only validates options calls a ``type`` function only if it is *pure*. Any other function might
read a file that only the workers have, query the database, or change something: only a worker calls it, when
the job runs. A function is pure if it is one of Python's or Django's conversions, if all that its code refers
to is pure, or if its author says so with the decorator ``pure``.

The code is inspected and never called. In doubt, a function is not pure.
"""

import argparse
import builtins
import dis
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from functools import lru_cache, partial, singledispatch
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, TypeVar

from django.conf import LazySettings
from django.utils.functional import LazyObject

F = TypeVar("F", bound=Callable[..., Any])

_DECLARED = "is_declared_pure"
_MODULES = frozenset(
    {"argparse", "ast", "base64", "binascii", "builtins", "calendar", "collections", "collections.abc"}
    | {"datetime", "decimal", "_decimal", "enum", "fractions", "functools", "ipaddress", "itertools", "json"}
    | {"math", "numbers", "operator", "_operator", "re", "shlex", "string", "textwrap", "typing"}
    | {"unicodedata", "urllib.parse", "uuid", "zoneinfo", "zoneinfo._common"}
    | {"django.conf", "django.core.exceptions", "django.core.management.base", "django.core.validators"}
    | {"django.utils.dateparse", "django.utils.duration", "django.utils.functional", "django.utils.text"}
    | {"django.utils.timezone", "django.utils.translation", "django.utils.regex_helper"}
)
_IMPURE_BUILTINS = frozenset(
    {"__import__", "breakpoint", "compile", "eval", "exec", "exit", "globals", "help", "input", "open"}
    | {"print", "quit"}
)
_PATHS = frozenset({PurePath, PurePosixPath, PureWindowsPath})
_IMPURE_INSTRUCTIONS = frozenset(
    {"DELETE_ATTR", "DELETE_GLOBAL", "IMPORT_NAME", "LOAD_BUILD_CLASS", "STORE_ATTR", "STORE_GLOBAL"}
)
_MAX_VALUES = 1000
"""Larger constants are not inspected."""


def pure(function: F) -> F:
    """Declare that an option's ``type`` function depends on nothing but its argument, and changes nothing.

    It is then also called when options are only validated, such as in the admin's forms.
    """
    setattr(function, _DECLARED, True)
    return function


def is_pure(function: object) -> bool:
    """Whether an option's ``type`` may be called in any process."""
    # Only in code can a path be used to look at the disk.
    return function is None or function is Path or _is_pure(function, set())


def _is_pure(value: object, seen: set[int]) -> bool:
    """``seen`` are the ids of values that are being inspected: functions may refer to each other."""
    # Not isinstance, which evaluates a lazy object.
    if issubclass(type(value), LazyObject):
        return type(value) is LazySettings
    if id(value) in seen or inspect.getattr_static(value, _DECLARED, None) is True:
        return True
    seen.add(id(value))
    return _inspect(value, seen)


@singledispatch
def _inspect(value: object, seen: set[int]) -> bool:
    """A constant, or an object that is called like a function."""
    cls = type(value)
    attributes = getattr(value, "__dict__", {})
    if "__wrapped__" in attributes:  # a cache of a function's results
        return _is_pure(attributes["__wrapped__"], seen)
    if _is_pure_class(cls):
        return True
    return callable(value) and _are_pure([*_methods(cls), *attributes.values()], seen)


@_inspect.register(argparse.FileType)
def _(value: argparse.FileType, seen: set[int]) -> bool:
    return False


@_inspect.register(ModuleType)
def _(value: ModuleType, seen: set[int]) -> bool:
    return value.__name__ in _MODULES


@_inspect.register(type)
def _(value: type, seen: set[int]) -> bool:
    # An enum's author may say how it is made from a value.
    return _is_pure_class(value) and (not issubclass(value, Enum) or _are_pure([*_makers(value)], seen))


@_inspect.register(FunctionType)
def _(value: FunctionType, seen: set[int]) -> bool:
    return value.__module__ in _MODULES or _is_pure_function(value, seen)


@_inspect.register(MethodType)
def _(value: MethodType, seen: set[int]) -> bool:
    return _are_pure([value.__func__, value.__self__], seen)


@_inspect.register(BuiltinFunctionType)
def _(value: BuiltinFunctionType, seen: set[int]) -> bool:
    return value.__name__ not in _IMPURE_BUILTINS and _is_pure(value.__self__, seen)


@_inspect.register(MethodDescriptorType)
def _(value: MethodDescriptorType, seen: set[int]) -> bool:
    return _is_pure(value.__objclass__, seen)


@_inspect.register(partial)
def _(value: partial[Any], seen: set[int]) -> bool:
    return _are_pure([value.func, *value.args, *value.keywords.values()], seen)


@_inspect.register(dict)
@_inspect.register(MappingProxyType)
def _(value: Any, seen: set[int]) -> bool:
    return _are_pure([*value.keys(), *value.values()], seen)


@_inspect.register(tuple)
@_inspect.register(list)
@_inspect.register(set)
@_inspect.register(frozenset)
def _(value: Any, seen: set[int]) -> bool:
    return _are_pure(value, seen)


def _are_pure(values: Any, seen: set[int]) -> bool:
    return len(values) <= _MAX_VALUES and all(_is_pure(each, seen) for each in values)


def _is_pure_class(cls: type) -> bool:
    if cls is argparse.FileType:
        return False
    return cls in _PATHS or cls.__module__ in _MODULES or issubclass(cls, BaseException | Enum)


def _makers(cls: type[Enum]) -> Iterator[object]:
    for each in cls.__mro__:
        if each.__module__ not in _MODULES:
            own = (vars(each).get(name) for name in ("__new__", "__new_member__", "__init__", "_missing_"))
            yield from (getattr(maker, "__func__", maker) for maker in own if maker is not None)


def _methods(cls: type) -> Iterator[object]:
    """What the object's code may call, in the classes that are not pure as a whole."""
    for each in cls.__mro__:
        if not _is_pure_class(each):
            yield from (value for name, value in vars(each).items() if _is_method(name, value))


def _is_method(name: str, value: object) -> bool:
    return isinstance(value, FunctionType) and name not in ("__init__", "__new__")


def _is_pure_function(function: FunctionType, seen: set[int]) -> bool:
    names = _names_in(function.__code__)
    return names is not None and _are_pure([*_globals(function, names), *_closed_over(function)], seen)


@lru_cache(maxsize=1024)
def _names_in(code: CodeType) -> frozenset[str] | None:
    """The names of globals and attributes that the code uses; None if it is not pure in any case."""
    if any(each.opname in _IMPURE_INSTRUCTIONS for each in dis.get_instructions(code)):
        return None
    # Those of a pure module are as good as the module, except this one.
    names = None if "FileType" in code.co_names else frozenset(code.co_names)
    for constant in code.co_consts:
        if names is not None and isinstance(constant, CodeType):  # a function inside this one
            inner = _names_in(constant)
            names = None if inner is None else names | inner
    return names


def _globals(function: FunctionType, names: frozenset[str]) -> Iterator[object]:
    for name in names:
        if name in function.__globals__:
            yield function.__globals__[name]
        elif hasattr(builtins, name):
            yield getattr(builtins, name)


def _closed_over(function: FunctionType) -> list[object]:
    cells = function.__closure__ or ()
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    try:
        return [*defaults, *(cell.cell_contents for cell in cells)]
    except ValueError:  # a variable without a value yet
        return [open]
