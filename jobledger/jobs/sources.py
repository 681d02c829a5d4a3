"""Tells from a command's source, without importing it, that it is not a job.

Importing every command of every installed app would run code that nobody asked for, and report errors in
packages that have nothing to do with jobs. Only a class that inherits from this package can be a job, so the
bases of ``Command`` are looked up in the source, across modules. What cannot be looked up may be a job.
"""

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

_OURS = "jobledger"
# WhiteNoise's runserver inherits from a class that it looks up, and would have to be imported.
_NEVER_OURS = ("django", "builtins", "whitenoise")
"""Packages whose classes are known not to be jobs."""
_UNKNOWN = ast.Constant(value=None)
"""Stands for what a decorator may make of a class."""
_USUAL_IMPORT = re.compile(rb"^from jobledger import .*\bJobCommand\b", re.MULTILINE)
_USUAL_CLASS = re.compile(rb"^class Command\(JobCommand\):", re.MULTILINE)
_DJANGOS_IMPORT = re.compile(
    rb"^from django\.core\.management(?:\.base)? import [\w ,]*\bBaseCommand\b", re.MULTILINE
)
_DJANGOS_CLASS = re.compile(rb"^class Command\(BaseCommand\):", re.MULTILINE)
_NAME_OF_CLASS = re.compile(rb"\b(?:Base)?Command\b")
_DECORATOR = re.compile(rb"^@", re.MULTILINE)


def may_be_job(app_name: str, app_path: str, command: str) -> bool:
    """False only if the source of the app's command shows that it is not a job."""
    if app_name.partition(".")[0] in _NEVER_OURS:
        return False
    file = Path(app_path) / "management" / "commands" / f"{command}.py"
    found = _at_a_glance(file)
    if found is not None:
        return found
    return _may_inherit(f"{app_name}.management.commands.{command}", file, "Command", frozenset())


def _at_a_glance(file: Path) -> bool | None:
    """Whether the source has the usual lines of a job, or those of a command that inherits from Django's;
    None if it has neither. To parse a hundred of them would take 30 ms.
    """
    try:
        source = file.read_bytes()
    except OSError:
        return None
    if _USUAL_CLASS.search(source) and _USUAL_IMPORT.search(source):
        return True
    is_djangos = _DJANGOS_CLASS.search(source) and _DJANGOS_IMPORT.search(source)
    # Once in the import, and twice in the class.
    if is_djangos and len(_NAME_OF_CLASS.findall(source)) == 3 and not _DECORATOR.search(source):
        return False
    return None


@dataclass(frozen=True, kw_only=True)
class _Names:
    """What a module's source says about its names; a name can have several meanings."""

    origins: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The dotted names that imports bind to a name."""
    bases: dict[str, list[ast.expr]] = field(default_factory=lambda: defaultdict(list))
    """The bases of the classes of a name."""


class _UnknownError(Exception):
    """The source does not tell."""


def _may_inherit(module: str, file: Path, name: str, seen: frozenset[str]) -> bool:
    """Whether the class of this name in the module may be a job."""
    try:
        names = _names_in(module, file)
        return any(_may_be_ours(origin, seen) for origin in _origins_of(name, names, module))
    except _UnknownError:
        return True


def _may_be_ours(origin: str, seen: frozenset[str]) -> bool:
    package = origin.partition(".")[0]
    if package == _OURS or origin in seen:
        return package == _OURS
    if package in _NEVER_OURS:
        return False
    module, _, name = origin.rpartition(".")
    return _may_inherit(module, _file_of(module), name, seen | {origin})


def _origins_of(name: str, names: _Names, module: str) -> Iterator[str]:
    """The classes of other modules from which the class of this name inherits, or the class that it is."""
    if name in names.bases:
        for base in names.bases[name]:
            yield from _origins_of_base(base, names, module)
    if name in names.origins:
        yield from names.origins[name]
    if name not in names.bases and name not in names.origins:
        if not hasattr(builtins, name):
            raise _UnknownError
        yield f"builtins.{name}"


def _origins_of_base(base: ast.expr, names: _Names, module: str) -> Iterator[str]:
    match base:
        case ast.Name(id=name):
            yield from _origins_of(name, names, module)
        case ast.Attribute(value=value, attr=attribute):
            yield from (f"{origin}.{attribute}" for origin in _origins_of_base(value, names, module))
        case _:
            raise _UnknownError


@cache
def _names_in(module: str, file: Path) -> _Names:
    """Raises _UnknownError if there is no readable source."""
    names = _Names()
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    try:
        for node in ast.walk(ast.parse(file.read_bytes())):
            _note(node, names, package)
    except (OSError, SyntaxError, ValueError, RecursionError, ImportError) as error:
        raise _UnknownError from error
    return names


def _note(node: ast.AST, names: _Names, package: str) -> None:
    match node:
        case ast.Import(names=aliases):
            for alias in aliases:
                bound = alias.name if alias.asname else alias.name.partition(".")[0]
                names.origins[alias.asname or bound].add(bound)
        case ast.ImportFrom(module=source, names=aliases, level=level):
            origin = resolve_name("." * level + (source or ""), package)
            for alias in aliases:
                names.origins[alias.asname or alias.name].add(f"{origin}.{alias.name}")
        case ast.ClassDef(name=name, bases=bases, decorator_list=decorators):
            names.bases[name] += [*bases, *(_UNKNOWN for _ in decorators)]


@cache
def _file_of(module: str) -> Path:
    """Raises _UnknownError if the module has no file of source. Imports the packages that contain it."""
    try:
        spec = find_spec(module)
    except (Exception, SystemExit) as error:
        raise _UnknownError from error
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise _UnknownError
    return Path(spec.origin)
