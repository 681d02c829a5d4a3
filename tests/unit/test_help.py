"""``manage.py help`` lists the jobs and the operator's command separately."""

from pathlib import Path

import pytest
from django.core.management import ManagementUtility

from proj.state import BASE_DIR


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headings without colours, even if the tests run in a terminal."""
    monkeypatch.setenv("DJANGO_COLORS", "nocolor")


def listed(label: str) -> set[str]:
    """The commands under this heading."""
    text = ManagementUtility(["manage.py", "help"]).main_help_text()
    section = text.partition(f"[{label}]")[2].partition("[")[0]
    return set(section.split())


def names_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("[!_]*.py")}


@pytest.mark.parametrize("package", ["tasks_app", "jobledger"])
def test_each_app_has_a_heading_with_its_own_commands(package: str) -> None:
    folder = BASE_DIR / package
    names = names_in(folder / "management" / "commands")
    assert names
    assert listed(folder.name) == names


def test_the_service_has_one_command_and_two_jobs() -> None:
    assert "hello" in listed("tasks_app")
    assert listed("jobledger") == {"jobledger", "prune_runs", "shell_command"}
