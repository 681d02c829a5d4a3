"""Which job a line starts, with which options, as its own parser reads them."""

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from posixpath import basename
from typing import Any

from django.core.management import get_commands

from jobledger.conf import NAME, settings
from jobledger.crontab.calls import PRELUDES, Call
from jobledger.crontab.shell import Kind, ShellError
from jobledger.crontab.syntax import Simple, script_of
from jobledger.crontab.wrappers import NotUnderstoodError
from jobledger.jobs import registry, secrets
from jobledger.jobs.declaration import Concurrency
from jobledger.jobs.options import OptionsError, argument_list, from_argv, to_argv
from jobledger.jobs.options.argument_list import Occurrence
from jobledger.jobs.options.parser import OVERLAP_OPTIONS, RESERVED_OPTIONS
from jobledger.jobs.registry import Job

SETTINGS_OPTION = "settings"
SHELL_JOB = "shell_command"
SHELL_COMMANDS = "SHELL_COMMANDS"
_OVERLAP = dict(zip(OVERLAP_OPTIONS, (Concurrency.QUEUE, Concurrency.ALLOW), strict=True))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What to add to a setting, so that a line can be imported."""

    key: str
    name: str
    """What to add to it."""
    value: str
    """Empty if it is a list of names."""
    remark: str = ""
    """What else is to be done."""

    def __str__(self) -> str:
        value, remark = f": {self.value}" if self.value else "", f"  # {self.remark}" if self.remark else ""
        return f'{NAME}["{self.key}"]: "{self.name}"{value}{remark}'


class NotExposedError(NotUnderstoodError):
    """The command exists, but is not a job yet."""

    def __init__(self, command: str) -> None:
        super().__init__(
            f"the command {command!r} is not a job yet: name it in EXPOSED_COMMANDS, or subclass JobCommand"
        )
        is_list = not isinstance(settings.EXPOSED_COMMANDS, Mapping)
        self.setting = Setting(key="EXPOSED_COMMANDS", name=command, value="" if is_list else "{}")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a schedule is to start."""

    job: Job
    options: Mapping[str, Any]
    concurrency: Concurrency | None = None
    """What the line itself says about overlap."""
    settings_module: str = ""
    """The settings that it asks for with ``--settings``."""
    without_effect: Sequence[str] = field(default_factory=tuple)
    """Options of manage.py that do nothing in a worker."""


def target_of(call: Call) -> Target:
    """The job and its options. Raises NotUnderstoodError, or NotExposedError."""
    job = _job(call)
    occurrences: Sequence[Occurrence] = ()
    try:
        occurrences = argument_list.read(_parser_of(job), call.arguments)
        own = [each for each in occurrences if each.action.dest not in RESERVED_OPTIONS]
        options = from_argv(_parser_of(job), argument_list.write(_parser_of(job), own))
    except OptionsError as error:
        text = _masked(job, occurrences, str(error))
        raise NotUnderstoodError(f"{job.name} does not accept its options: {text}") from error
    return _target(job, options, [each for each in occurrences if each not in own])


def _target(job: Job, options: Mapping[str, Any], others: Sequence[Occurrence]) -> Target:
    dests = {each.action.dest: each for each in others}
    settings_option = dests.pop(SETTINGS_OPTION, None)
    return Target(
        job=job,
        options=options,
        concurrency=next((_OVERLAP[dest] for dest in dests if dest in _OVERLAP), None),
        settings_module=settings_option.words[0] if settings_option and settings_option.words else "",
        without_effect=[each.flag or dest for dest, each in dests.items() if dest not in _OVERLAP],
    )


def words_of(job: Job, options: Mapping[str, Any]) -> str:
    """Options as words of a command line, which are the same for 7 and "7", as text.

    Which of the two is stored depends on whether the parser's type could be called.
    """
    given = dict(sorted(options.items()))
    try:
        return json.dumps(to_argv(_parser_of(job), given))
    except OptionsError:
        return json.dumps(given, default=str)


class NotListedError(NotUnderstoodError):
    """A command line that is none of SHELL_COMMANDS."""

    def __init__(self, command: str, why: NotUnderstoodError) -> None:
        super().__init__(f"{why}, and it is not one of SHELL_COMMANDS")
        text = masked(command)
        value = json.dumps(text, ensure_ascii=False)
        remark = (
            ""
            if text == command
            else f"the line has a secret in place of {secrets.MASK}; better use a script"
        )
        self.setting = Setting(key=SHELL_COMMANDS, name=_suggested_name(command), value=value, remark=remark)


def masked(command: str) -> str:
    """A command line, or a line of a crontab, without what looks like a secret."""
    # The blank keeps all of it from being read as the value of an assignment at its beginning.
    return secrets.masked_command([f" {command}"]).strip()


def shell_target(command: str, why: NotUnderstoodError) -> Target:
    """The job that runs the command of SHELL_COMMANDS with just this text. Raises NotListedError.

    ``why`` says why the line is no call of another job.
    """
    for name, listed in settings.SHELL_COMMANDS.items():
        if listed == command or (not isinstance(listed, str) and shlex.join(listed) == command):
            return Target(job=registry.find(SHELL_JOB), options={"name": name})
    raise NotListedError(command, why)


def _suggested_name(command: str) -> str:
    """The name of the first program that does more than prepare for another one."""
    with suppress(ShellError):
        for pipeline in script_of(command).pipelines:
            match pipeline.commands[0]:
                case Simple(words=[word, *_]) if word.literal not in PRELUDES:
                    name = basename(word.parts[-1].text).partition(".")[0].replace("-", "_")
                    return name if name.isidentifier() and word.parts[-1].kind is Kind.TEXT else "name"
    return "name"


def _job(call: Call) -> Job:
    command = call.command
    job = registry.all_jobs().get(command)
    if job is not None:
        return job
    if command in get_commands():
        raise NotExposedError(command)
    hint = registry.suggestion(command, get_commands())
    raise NotUnderstoodError(f"this project has no command {command!r}. {hint}".strip())


@cache
def _parser_of(job: Job) -> Any:
    return job.create_validating_parser()


def _masked(job: Job, occurrences: Sequence[Occurrence], text: str) -> str:
    """A parser's message, which may quote values, without secrets."""
    if not occurrences:
        return secrets.masked_text(job.name, text)
    given = {each.action.dest: list(each.words) for each in occurrences}
    return secrets.without_secrets(job.name, given, text)
