"""A run's options as they may be shown: secrets masked, with the line that somebody would type.

The only place where the admin renders what a run was given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks_app.jobs.admin.masked_json import told
from tasks_app.jobs.defining import registry, secrets
from tasks_app.jobs.defining.arguments import OptionsError
from tasks_app.jobs.defining.command_lines import command_line
from tasks_app.jobs.models import Run


@dataclass(frozen=True, kw_only=True)
class ShownOptions:
    """What a run was given."""

    named: Sequence[tuple[str, str]]
    positional: Sequence[str]
    """Only an ordinary Celery task may have some."""
    line: str
    """The same by hand; empty where no line says it: the job is gone, or it is an ordinary task."""


def shown_options(run: Run) -> ShownOptions:
    """The options of this run, for everybody who may see it."""
    masked = secrets.masked(run.job, run.options)
    return ShownOptions(
        named=[(name, told(value)) for name, value in masked.items()],
        positional=[told(value) for value in run.args],
        line=_line(run),
    )


def without_secrets(run: Run, text: str) -> str:
    """What is told of the run, such as its error, without the values that its options hide."""
    return secrets.without_secrets(run.job, run.options, text)


def _line(run: Run) -> str:
    job = registry.all_jobs().get(run.job)
    if job is None:
        return ""
    try:
        return command_line(job, run.options)
    except OptionsError:
        return ""
