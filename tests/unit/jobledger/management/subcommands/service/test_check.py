"""``jobledger check`` says what is wrong with this service, and nothing about the rest of the project."""

import io
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, Info, register, registry
from django.core.management import CommandError, call_command
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger import checks
from tests.unit.builders import override

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_odd_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own jobs have some, which the settings silence."""
    monkeypatch.setattr(checks, "check_options", list)


def check() -> tuple[str, str, str]:
    """What it prints on stdout and stderr, and its final error."""
    stdout, stderr, message = io.StringIO(), io.StringIO(), ""
    try:
        call_command("jobledger", "check", stdout=stdout, stderr=stderr)
    except CommandError as error:
        message = f"{error} Exit code {error.returncode}."
    return stdout.getvalue(), stderr.getvalue(), message


def test_without_mistakes_it_succeeds() -> None:
    assert check() == ("No issues (0 silenced).\n", "", "")


def test_a_warning_is_printed_with_its_fix_and_fails(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=["clear_sessions"])
    stdout, stderr, error = check()
    assert (stdout, error) == ("", "1 issue (0 silenced). Exit code 1.")
    assert stderr.startswith("jobledger.W004: EXPOSED_COMMANDS contains 'clear_sessions'")
    assert stderr.endswith("\n    Correct the name, or install the app.\n")


def test_a_silenced_warning_is_counted(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=["clear_sessions"])
    settings.SILENCED_SYSTEM_CHECKS = ["jobledger.W004"]
    assert check() == ("No issues (1 silenced).\n", "", "")


def test_stored_schedules_are_checked() -> None:
    PeriodicTask.objects.create(
        name="gone",
        task="tasks_app.gone",
        interval=IntervalSchedule.objects.create(every=1, period="hours"),
    )
    _, stderr, error = check()
    assert "jobledger.W010: The schedule 'gone' is broken" in stderr
    assert error == "1 issue (0 silenced). Exit code 1."


def test_an_error_comes_before_warnings(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=["clear_sessions"])
    settings.USE_TZ = False
    _, stderr, error = check()
    assert stderr.index("jobledger.E002") < stderr.index("jobledger.W004")
    assert error == "2 issues (0 silenced). Exit code 1."


@pytest.mark.parametrize(
    "name", ["check_project", "check_jobs", "check_options", "check_links", "check_schedules"]
)
def test_each_check_is_run_and_a_remark_does_not_fail(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(checks, name, lambda **kwargs: [Info("By the way.", id="jobledger.I001")])
    assert check() == ("No issues beside 1 remark (0 silenced).\n", "jobledger.I001: By the way.\n", "")


def test_it_says_nothing_of_the_rest_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_another_app(**kwargs: Any) -> list[CheckMessage]:
        return [Error("Elsewhere.", id="elsewhere.E001")]

    monkeypatch.setattr(registry.registry, "registered_checks", {*registry.registry.registered_checks})
    register(of_another_app)
    assert check() == ("No issues (0 silenced).\n", "", "")


def test_there_are_no_checks_of_the_service_besides_these() -> None:
    registered = {
        getattr(each, "__name__", "")
        for each in registry.registry.registered_checks
        if each.__module__.startswith(f"{checks.__name__}.")
    }
    assert registered == {"check_project", "check_jobs", "check_options", "check_links", "check_schedules"}
