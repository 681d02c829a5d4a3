"""Functions of Django's tasks are jobs, whose options are their arguments."""

import subprocess
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django import Settings

from jobledger.checks import jobs as job_checks
from jobledger.jobs import functions, registry
from jobledger.jobs.declaration import Concurrency
from jobledger.jobs.functions import declare
from jobledger.jobs.options import OptionsError, from_argv, to_argv, validate_options
from jobledger.jobs.options.command_line import command_line
from jobledger.schedules import declared
from tests.probes import tasks

EARLY = """
from django.conf import settings
settings.configure(TASKS={"default": {"BACKEND": "jobledger.django_tasks.JobledgerBackend"}})
from jobledger.jobs.functions import framework

def function(): ...

framework().task(function)
"""


def test_a_function_is_a_job_that_is_named_after_its_app() -> None:
    job = registry.find("probes:multiply")
    assert (job.task_name, job.app_label, job.summary) == (
        "tests.probes.tasks.multiply",
        "probes",
        "Multiply two numbers.",
    )
    assert registry.find("tests.probes.tasks.multiply") is job
    assert registry.of_task("tests.probes.tasks.multiply") is job


def test_one_from_another_module_is_named_after_that_too() -> None:
    assert registry.find("tests.probes.elsewhere.imported").name == "probes:elsewhere:imported"


@pytest.mark.parametrize("name", ["probes:add", "probes:elsewhere:unfound", "probes:Schedule"])
def test_nothing_else_in_the_module_is_a_job(name: str) -> None:
    assert name not in registry.all_jobs()


def test_a_function_of_another_backend_is_no_job(settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": f"{functions.framework_name()}.backends.dummy.DummyBackend"}}
    assert [job for job in registry.all_jobs().values() if job.function] == []


@pytest.mark.parametrize(
    "backend", [None, {}, {"BACKEND": 7}, {"BACKEND": "no.such.Backend"}, {"BACKEND": "jobledgers.Backend"}]
)
def test_whatever_the_setting_is_commands_are_jobs(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    monkeypatch.setattr(functions, "settings", SimpleNamespace(TASKS={"default": backend}))
    assert functions.named_backends() == []
    assert list(functions.discover()) == []


def test_without_the_framework_there_are_none_and_a_check_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from jobledger.checks import project

    monkeypatch.setattr(functions, "FRAMEWORKS", ("no_such",))
    assert list(functions.discover()) == []
    (found,) = [each for each in project.check_project() if each.id == "jobledger.W031"]
    assert "django-jobledger[tasks]" in str(found.hint)
    with pytest.raises(ImportError, match="its backport, django-tasks"):
        functions.framework()


def test_a_module_that_cannot_be_imported_is_reported_and_affects_no_other_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> Any:
        if name == "tests.probes.tasks":
            raise ZeroDivisionError("no luck")
        return original(name)

    original: Any = vars(functions)["import_module"]
    monkeypatch.setattr(functions, "import_module", broken)
    registry._scan.cache_clear()
    try:
        assert "probe" in registry.all_jobs()
        (message,) = [each.msg for each in job_checks.check_jobs() if each.id == "jobledger.W003"]
    finally:
        registry._scan.cache_clear()
    assert message.startswith(
        "The module tests.probes.tasks cannot be imported, so its functions are no jobs: ZeroDivisionError: "
    )


def test_tasks_can_be_imported_before_django_is_set_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stderr, done.returncode) == ("", 0)


# Arguments


def parser_of(name: str) -> Any:
    return registry.find(name).create_validating_parser()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("probes:multiply", {"x": 3}),
        ("probes:multiply", {"x": -3, "y": 4}),
        ("probes:echo", {"args": [1, [None, "two"], {"a": {}}], "kwargs": {"b": False}}),
        ("probes:address", {"to": {"name": "anna"}, "subject": "5", "urgent": True}),
        ("probes:address", {"to": "true", "subject": " a b ", "urgent": False}),
        ("probes:address", {"to": "--x", "subject": ""}),
        ("probes:address", {"to": 1.5, "subject": ["“"]}),
    ],
)
def test_options_survive_the_way_to_a_command_line_and_back(name: str, options: Mapping[str, Any]) -> None:
    parser = parser_of(name)
    argv = to_argv(parser, options)
    assert from_argv(parser, argv) == options


def test_text_needs_no_quotes_on_the_command_line() -> None:
    given = from_argv(parser_of("probes:address"), ["--to", "anna@example.com", "--subject", "[1]"])
    assert given == {"to": "anna@example.com", "subject": [1]}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "required: --x"),
        ({"x": "three"}, "invalid int value"),
        ({"x": 1, "z": 1}, "z: no such option; valid options are: x, y"),
        ({"x": [1]}, "x: expected text or a number"),
    ],
)
def test_options_are_validated_like_those_of_a_command(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionsError, match=problem):
        validate_options(parser_of("probes:multiply"), options)


def test_the_equivalent_command_is_a_call() -> None:
    job = registry.find("probes:address")
    line = command_line(job, {"to": "anna", "subject": "Hello", "password": "hunter2"})
    assert line == "manage.py jobledger call probes:address --to anna --subject Hello --password '********'"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"args": 1}, "args: expected a list of positional arguments"),
        ({"kwargs": []}, "kwargs: expected an object with keyword arguments"),
    ],
)
def test_several_arguments_must_be_several(options: dict[str, Any], problem: str) -> None:
    function = registry.find("probes:echo").function
    assert function is not None
    with pytest.raises(OptionsError, match=problem):
        function.arguments_of(options)


# Declarations


def test_several_runs_may_overlap_unless_declared_otherwise() -> None:
    assert registry.find("probes:multiply").declaration.concurrency is Concurrency.ALLOW


def test_a_declared_schedule_is_one_of_the_functions() -> None:
    (one,) = [each for each in declared.all_declared() if each.name == "nightly product"]
    assert (one.job.name, list(declared.problems(one))) == ("probes:scheduled", [])


def test_the_attributes_may_be_above_or_below_the_task() -> None:
    above, below = (registry.find(name).declaration for name in ("probes:retried", "probes:scheduled"))
    assert (above.max_retries, len(below.schedules)) == (2, 1)


def test_an_unknown_attribute_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="no attribute timeout; it can declare: after, alerts,"):
        declare(timeout=5)(tasks.multiply)
