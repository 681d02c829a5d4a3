"""The job that runs commands which the settings list."""

import io
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from jobledger import conf
from jobledger.jobs import registry
from jobledger.models import Run
from tests.unit.builders import override

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def listed(settings: Any) -> None:
    commands = {"shout": "echo $((1 + 1)) | tr 2 3 >&2", "words": ["false", "a b"], "seven": "exit 7"}
    commands |= {
        "killed": "kill -9 $$",
        "real-time": "kill -37 $$",
        "missing": ["/no/such/program"],
        "reads": "! read line",
    }
    override(settings, SHELL_COMMANDS=commands)


def shell_command(name: str) -> None:
    call_command("shell_command", name, stdout=io.StringIO())


def test_it_is_no_job_as_long_as_no_command_is_listed(settings: Any) -> None:
    assert "shell_command" in registry.all_jobs()
    override(settings, SHELL_COMMANDS={})
    assert "shell_command" not in registry.all_jobs()


def test_a_text_is_run_by_a_shell(capfd: pytest.CaptureFixture[str]) -> None:
    shell_command("shout")
    assert capfd.readouterr().err == "3\n"
    assert Run.objects.get().options == {"name": "shout"}


def test_a_command_that_reads_its_input_does_not_wait() -> None:
    shell_command("reads")


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("words", 1, "words has exited with 1"),
        ("seven", 7, "seven has exited with 7"),
        ("killed", 137, "killed was ended by SIGKILL"),
        ("real-time", 165, "real-time was ended by signal 37"),
        ("missing", 1, "missing cannot be started"),
    ],
)
def test_a_failure_of_the_command_is_one_of_the_run(name: str, code: int, text: str) -> None:
    with pytest.raises(CommandError) as raised:
        shell_command(name)
    assert text in str(raised.value)
    assert (raised.value.returncode, Run.objects.get().exit_code) == (code, code)


def test_nothing_else_can_be_run() -> None:
    with pytest.raises(CommandError, match="invalid choice: 'echo hello'"):
        shell_command("echo hello")


def test_commands_exclude_only_themselves() -> None:
    job = registry.find("shell_command")
    keys = {job.declaration.concurrency_key({"name": name}) for name in ("shout", "seven")}
    assert keys == {"shout", "seven"}


@pytest.mark.parametrize(
    "commands", [["a"], {"a": ""}, {"a": []}, {"a": [1]}, {"": "a"}, {"x" * 101: "a"}, {1: "a"}, {"a": 1}]
)
def test_a_setting_that_lists_no_commands_is_invalid(commands: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="SHELL_COMMANDS"):
        conf.validated({"SHELL_COMMANDS": commands})
