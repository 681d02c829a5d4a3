"""A job's options as a command line, as a user would type it: ``manage.py cleanup_tokens --days 30``.

It can be pasted into a shell. Secrets are masked.
"""

import shlex
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence

from jobledger.jobs import secrets
from jobledger.jobs.json_text import readable
from jobledger.jobs.options import JsonObject, to_argv
from jobledger.jobs.options.argument_list import read
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.parser import option_strings
from jobledger.jobs.registry import Job


def command_line(job: Job, options: JsonObject) -> str:
    """The command line. Raises OptionsError for options that cannot be expressed as one."""
    parser = job.create_validating_parser()
    masked = secrets.masked(job.name, options)
    visible = {
        dest: secrets.mask_like(value) if masked[dest] == secrets.MASK else value
        for dest, value in options.items()
    }
    argv = to_argv(parser, visible)
    return readable(shlex.join(["manage.py", *job.command_words, *_spaced(parser, argv)]))


def _spaced(parser: ArgumentParser, argv: Sequence[str]) -> Sequence[str]:
    """``--days 30`` instead of ``--days=30``, if argparse reads both the same way."""
    spaced = [part for word in argv for part in _parts(parser, word)]
    try:
        return spaced if read(parser, spaced) == read(parser, argv) else argv
    except OptionsError:
        return argv


def _parts(parser: ArgumentParser, word: str) -> Iterator[str]:
    flag, equals, value = word.partition("=")
    if equals and value and flag in option_strings(parser):
        yield from (flag, value)
    else:
        yield word
