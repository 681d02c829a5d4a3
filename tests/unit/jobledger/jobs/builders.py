"""Builders for jobs that no installed app has."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand

from jobledger.jobs.declaration import JobDeclaration
from jobledger.jobs.registry import Job
from tests.unit.jobledger.jobs.options.parsers import Argument

Build = Callable[[ArgumentParser], object]


def a_job(*arguments: Argument, build: Build | None = None, **declared: Any) -> Job:
    """A job with these arguments, and those that ``build`` adds to its parser."""

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
