"""The code has floors: a file imports only from its own floor or below, even inside functions."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# The longest matching prefix decides.
FLOORS = {
    "jobledger.__version__": 1,
    "jobledger.escapes": 1,
    "jobledger.formats": 1,
    "jobledger.reason": 1,
    "jobledger.outages": 1,
    "jobledger.clock": 1,
    "jobledger.paging": 1,
    "jobledger.compiled": 1,
    "jobledger.prepared": 1,
    "jobledger.conf": 1,
    "jobledger.permissions": 1,
    "jobledger.calendars": 1,
    "jobledger.brokers": 1,
    "jobledger.celery": 1,
    "jobledger.celery_internals": 1,
    "jobledger.jobs": 1,
    "jobledger.logs": 1,
    "jobledger.models": 2,
    "jobledger.migrations": 2,
    "jobledger.runs": 3,
    "jobledger.django_tasks": 3,
    "jobledger.alerts": 3,
    "jobledger.retention": 3,
    "jobledger.metrics.histogram": 3,
    "jobledger.metrics.names": 3,
    "jobledger.metrics.totals": 3,
    "jobledger.sentry": 3,
    "jobledger.tracing": 3,
    "jobledger.tracing.context": 1,
    "jobledger": 4,
    "jobledger.admin": 5,
    "jobledger.api": 5,
    "jobledger.management": 5,
    "tasks_app.models": 4,
    "tasks_app": 5,
    "tasks_app.management": 6,
    "proj": 6,
}
HOUSES = ("jobledger", "proj", "tasks_app")
SOURCES = sorted(path for folder in HOUSES for path in (ROOT / folder).rglob("*.py"))


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
        yield from (name for name in names if name.split(".")[0] in HOUSES)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_module_imports_from_a_floor_above(path: Path) -> None:
    floor = floor_of(module_of(path))
    assert [name for name in own_imports(path) if floor_of(name) > floor] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not counted: what a package's own file hands on, such as ``jobledger.JobCommand``."""
    modules = {module_of(path): path for path in SOURCES if path.name != "__init__.py"}
    graph = {
        module: {
            part for name in own_imports(path) for part in (name, name.rpartition(".")[0]) if part in modules
        }
        for module, path in modules.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(modules)


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if module_of(path).startswith("jobledger")], ids=module_of
)
def test_the_service_knows_nothing_of_the_samples(path: Path) -> None:
    assert [name for name in own_imports(path) if not name.startswith("jobledger")] == []
