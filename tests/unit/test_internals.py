"""What a neighbour keeps private is touched in one module for each neighbour, ``…_internals.py``.

Ruff's SLF001 sees attributes; this sees the other ways to them, and that each exception has its reason.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_floors import SOURCES, module_of

OTHERS = [path for path in SOURCES if not path.stem.endswith("_internals")]


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def private_names(path: Path) -> Iterator[str]:
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
    assert list(private_names(path)) == []


@pytest.mark.parametrize("path", OTHERS, ids=module_of)
def test_the_rule_is_switched_off_nowhere_else(path: Path) -> None:
    assert "SLF001" not in path.read_text()


def test_each_exception_has_its_reason() -> None:
    internals = [path for path in SOURCES if path not in OTHERS]
    exceptions = [line for path in internals for line in path.read_text().splitlines() if "SLF001" in line]
    assert exceptions
    assert [line for line in exceptions if "# noqa: SLF001 - " not in line] == []
