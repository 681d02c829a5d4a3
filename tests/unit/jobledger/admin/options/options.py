"""Builders of jobs whose options are filled into a form, and a browser that posts what it is shown."""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import BaseCommand
from django.http import QueryDict

from jobledger.admin.options.form import OptionsForm
from jobledger.admin.options.widgets import Optional
from jobledger.jobs.declaration import JobDeclaration
from jobledger.jobs.registry import Job
from tests.unit.jobledger.jobs.options.parsers import Argument

Build = Callable[[ArgumentParser], object]


def a_job(*arguments: Argument, build: Build | None = None, **declared: Any) -> Job:
    """A job with these arguments, and with what ``build`` adds to its parser."""

    def add_arguments(self: BaseCommand, parser: ArgumentParser) -> None:
        for argument in arguments:
            argument.add_to(parser)
        if build:
            build(parser)

    return Job(
        name="job",
        app_label="tests",
        command_class=type("Command", (BaseCommand,), {"add_arguments": add_arguments}),
        declaration=type("Declaration", (JobDeclaration,), declared),
    )


def posted(form: OptionsForm, **changes: Any) -> QueryDict:
    """What a browser posts of the form, after these changes to what its fields show, by option name."""
    data = QueryDict(mutable=True)
    for name in form.fields:
        shown = changes.get(name, form.initial.get(name))
        _post(data, form.add_prefix(name), shown)
    return data


def _post(data: QueryDict, name: str, shown: Any) -> None:
    match shown:
        case Optional():
            _post(data, name, shown.text)
            _post(data, f"{name}-bare", shown.is_bare)
        case list():
            data.setlist(name, shown)
        case True:
            data[name] = "on"
        case False | None:
            pass
        case _:
            # As browsers do with the ends of lines.
            data[name] = str(shown).replace("\n", "\r\n")


def filled(job: Job, options: Mapping[str, Any], **changes: Any) -> OptionsForm:
    """The job's form for stored options, posted after these changes."""
    return OptionsForm(job, options, posted(OptionsForm(job, options), **changes))
