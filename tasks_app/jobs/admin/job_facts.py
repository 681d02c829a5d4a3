"""What a job's author has declared about it, in words that an operator knows. Pure."""

from argparse import SUPPRESS
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from tasks_app.jobs.admin import moments
from tasks_app.jobs.defining.argument_options import Option, options_of
from tasks_app.jobs.defining.declaration import Concurrency, JobDeclaration
from tasks_app.jobs.defining.registry import Job

USAGE_WIDTH = 88


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that is declared."""

    name: str
    text: str


def facts(job: Job) -> list[Fact]:
    """How the job behaves, in the order in which somebody asks."""
    declared = job.declaration
    found = {
        _("Overlap"): _overlap(declared),
        _("Time limit"): _time_limit(declared),
        _("Retries"): _retries(declared),
        _("When its process dies"): _when_lost(declared),
    }
    return [Fact(name=name, text=text) for name, text in found.items()]


def summary(job: Job) -> str:
    """The first line of the help."""
    return next((line.strip() for line in job.help.splitlines() if line.strip()), "")


def usage(job: Job) -> str:
    """argparse's usage, without what belongs to every command."""
    parser = job.create_parser()
    options = [option for dest, option in options_of(parser).items() if dest != "verbosity"]
    actions = [action for option in options for action in option.actions if action.help is not SUPPRESS]
    formatter = parser.formatter_class(prog=parser.prog, width=USAGE_WIDTH)  # type: ignore[call-arg]
    formatter.add_usage(parser.usage, actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def dry_run(job: Job) -> Option | None:
    """The flag ``--dry-run``, where the job has one."""
    for option in options_of(job.create_parser()).values():
        if any(flag.string == "--dry-run" for flag in option.flags):
            return option
    return None


def _overlap(declared: type[JobDeclaration]) -> str:
    waiting = ngettext(
        "Never two at once: one run waits for its turn, more are skipped.",
        "Never two at once: up to %(count)d runs wait for their turn, more are skipped.",
        declared.max_queued,
    )
    words = {
        Concurrency.FORBID: _("Never two at once: what is due while it runs is skipped."),
        Concurrency.QUEUE: waiting % {"count": declared.max_queued},
        Concurrency.REPLACE: _("Never two at once: what is due while it runs takes its place."),
        Concurrency.ALLOW: _("Any number at once."),
    }
    is_narrowed = declared.concurrency_key.__func__ is not JobDeclaration.concurrency_key.__func__  # type: ignore[attr-defined]
    narrowed = _("Two count as the same only where the job's own key, made from its options, is the same.")
    is_guarded = declared.concurrency is not Concurrency.ALLOW
    return " ".join([words[declared.concurrency], *([narrowed] if is_narrowed and is_guarded else [])])


def _time_limit(declared: type[JobDeclaration]) -> str:
    if declared.time_limit is None:
        return _("None: it may take as long as it likes.")
    lengths = {
        "limit": moments.duration(declared.time_limit),
        "grace": moments.duration(declared.time_limit_grace),
    }
    return _("Ended after %(limit)s; killed if its cleanup takes longer than %(grace)s.") % lengths


def _retries(declared: type[JobDeclaration]) -> str:
    if not declared.max_retries:
        return _("None: a failure is final.")
    return ngettext(
        "Tried once more after a failure, after %(pause)s.",
        "Tried up to %(count)d times more after a failure: after %(pause)s, then each after twice as long.",
        declared.max_retries,
    ) % {"count": declared.max_retries, "pause": moments.duration(declared.retry_backoff)}


def _when_lost(declared: type[JobDeclaration]) -> str:
    if declared.restart_when_lost:
        return _("Starts again.")
    return _("Is recorded as lost, and does not start again by itself.")
