import shlex
from typing import Any

import pytest

from jobledger.jobs import registry
from jobledger.jobs.options import OptionsError, from_argv
from jobledger.jobs.options.command_line import command_line
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.parsers import arg

ARGUMENTS = (
    arg("first", nargs="?"),
    arg("--days", type=int),
    arg("--name"),
    arg("--tags", nargs="+"),
    arg("--dry-run", action="store_true"),
    arg("--api-key"),
    arg("--tokens", nargs=2),
)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> registry.Job:
    made = a_job(*ARGUMENTS)
    monkeypatch.setattr(registry, "all_jobs", lambda: {made.name: made})
    return made


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "manage.py job"),
        ({"days": 30, "dry_run": True}, "manage.py job --days 30 --dry-run"),
        ({"name": "a b"}, "manage.py job --name 'a b'"),
        ({"name": "-x"}, "manage.py job --name=-x"),
        ({"tags": ["a", "b"], "first": "c"}, "manage.py job --tags a b -- c"),
        ({"tags": ["a"], "first": "c"}, "manage.py job --tags=a c"),
        ({"api_key": "hunter2"}, "manage.py job --api-key '********'"),
        ({"tokens": ["a", "b"]}, "manage.py job --tokens '********' '********'"),
    ],
)
def test_options_are_formatted_as_a_user_would_type_them(
    job: registry.Job, options: dict[str, Any], line: str
) -> None:
    assert command_line(job, options) == line


def test_a_shell_and_the_parser_read_the_line_back(job: registry.Job) -> None:
    options = {"days": 3, "name": "it's; $HOME", "tags": ["x y", "z"], "first": "-1"}
    words = shlex.split(command_line(job, options))
    assert words[:2] == ["manage.py", "job"]
    assert from_argv(job.create_parser(), words[2:]) == options


def test_options_that_cannot_be_a_command_line_are_rejected(job: registry.Job) -> None:
    with pytest.raises(OptionsError, match="dayz"):
        command_line(job, {"dayz": 3})
