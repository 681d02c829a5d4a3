"""The registry finds every job of every installed app, and nothing else."""

import re
import sys

import pytest
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, Schedule
from tests.unit.builders import override


def test_a_job_command_of_an_installed_app_is_a_job() -> None:
    job = registry.find("probe")
    assert (job.name, job.task_name, job.help) == ("probe", "probes.probe", "Do what the options say.")


def test_a_job_is_found_by_its_task_name_too() -> None:
    assert registry.find("probes.probe") == registry.find("probe")


def test_an_exposed_command_is_a_job_with_its_own_apps_label() -> None:
    assert registry.find("clearsessions").task_name == "sessions.clearsessions"


@pytest.mark.parametrize("name", ["unexposed_probe", "flush", "shell", "other.probe", "", "jobledger"])
def test_nothing_else_is_a_job(name: str) -> None:
    with pytest.raises(registry.UnknownJobError, match="There is no job "):
        registry.find(name)


def test_without_a_similar_name_an_error_lists_all_jobs() -> None:
    with pytest.raises(registry.UnknownJobError, match=r"There is no job 'flush'\. Existing jobs: .*probe"):
        registry.find("flush")


NAMES = ["tasks_app.cleanup_tokens", "tasks_app.hello", "probes.hello", "probes.probe", "old-name"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tasks_app.cleanup_token", "Did you mean tasks_app.cleanup_tokens?"),
        ("cleanup_tokens", "Did you mean tasks_app.cleanup_tokens?"),
        ("taks_app.cleanup-tokens", "Did you mean tasks_app.cleanup_tokens?"),
        ("helo", "Did you mean probes.hello or tasks_app.hello?"),
        ("old_name", "Did you mean old-name?"),
        ("billing.invoice", ""),
        ("", ""),
    ],
)
def test_similar_names_are_suggested_also_if_the_app_label_is_wrong_or_missing(name: str, hint: str) -> None:
    assert registry.suggestion(name, NAMES) == hint


def test_the_setting_may_be_a_plain_list(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=["unexposed_probe"])
    assert registry.find("unexposed_probe").declaration.concurrency is Concurrency.FORBID
    assert "plain_probe" not in registry.all_jobs()


def test_a_command_of_django_itself_can_be_exposed(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=["sendtestemail"])
    assert registry.find("sendtestemail").task_name == "core.sendtestemail"


def test_the_setting_declares_for_a_command_that_cannot(settings: Settings) -> None:
    weekly = Schedule("0 4 * * 0")
    override(settings, EXPOSED_COMMANDS={"plain_probe": {"schedules": [weekly]}})
    assert list(registry.find("plain_probe").declaration.schedules) == [weekly]


def test_a_module_that_cannot_be_imported_is_reported_and_does_not_affect_other_jobs(
    settings: Settings,
) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.broken_app"]
    broken, exiting, missing = registry.import_failures()
    assert broken.module == "tests.broken_app.management.commands.broken_probe"
    assert re.fullmatch(
        r"ImportError: no module named flux_capacitor \(\S+/broken_probe\.py, line 3\)", broken.error
    )
    assert exiting.module == "tests.broken_app.management.commands.exiting_probe"
    assert exiting.error.startswith("SystemExit: Not today. (")
    assert re.fullmatch(
        r"ModuleNotFoundError: No module named 'flux_capacitor' \(\S+/missing_probe\.py, line 3\)",
        missing.error,
    )
    assert registry.find("probe").name == "probe"


def test_a_command_that_is_no_job_is_not_even_imported(settings: Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.broken_app"]
    name = "tests.probes.management.commands.unexposed_probe"
    sys.modules.pop(name, None)
    assert "unexposed_probe" not in registry.all_jobs()
    assert name not in sys.modules


def test_a_job_is_found_by_the_whole_name_of_its_task() -> None:
    job = registry.of_task("probes.probe")
    assert job is not None
    assert job.name == "probe"


@pytest.mark.parametrize("task", ["probe", "other.probe", "probes.gone", "tests.probes.tasks.add", ""])
def test_an_ordinary_task_has_no_job(task: str) -> None:
    assert registry.of_task(task) is None


def test_the_summary_is_the_helps_first_line() -> None:
    assert registry.find("choosing").summary == "Print what was chosen."
