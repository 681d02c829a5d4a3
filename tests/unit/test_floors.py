"""The house has floors: a file imports from its own floor or below, also inside a function."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# The longest prefix that fits decides.
FLOORS = {
    "tasks_app.jobs.defining": 1,
    "tasks_app.jobs.models": 2,
    "tasks_app.jobs.migrations": 2,
    "tasks_app.jobs.running": 3,
    "tasks_app.jobs.alerts": 3,
    "tasks_app.jobs": 4,
    "tasks_app.jobs.admin": 5,
    "tasks_app.jobs.management": 5,
    "tasks_app.models": 4,
    "tasks_app": 5,
    "tasks_app.management": 6,
    "proj": 6,
}
SOURCES = sorted(path for folder in ("proj", "tasks_app") for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor_of(module: str) -> int:
    fitting = [name for name in FLOORS if module == name or module.startswith(f"{name}.")]
    return FLOORS[max(fitting, key=len)]


def own_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ("proj", "tasks_app"))


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_import_runs_up_the_floors(path: Path) -> None:
    floor = floor_of(module_of(path))
    assert [name for name in own_imports(path) if floor_of(name) > floor] == []


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if module_of(path).startswith("tasks_app.jobs")], ids=module_of
)
def test_the_service_knows_nothing_of_the_samples(path: Path) -> None:
    assert [name for name in own_imports(path) if not name.startswith("tasks_app.jobs")] == []
