"""The command line that is wrapped, and the options of ``wrap`` before it.

Imports little, since the relay imports it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

USAGE = "manage.py jobledger wrap [--name NAME] [--settings MODULE] [--pythonpath PATH] -- COMMAND LINE"
_WITH_VALUE = ("--name", "--settings", "--pythonpath", "--verbosity", "-v")
_FLAGS = ("--no-color", "--force-color", "--traceback", "--skip-checks")
"""Options that every command of Django has, and that mean nothing here."""
_DEFAULT_SHELL = "/bin/sh"


class UsageError(Exception):
    """The arguments of ``wrap`` are not valid; the message says why."""


class Line(NamedTuple):
    """A single word is a line for the shell, as in a crontab; several are a program and its arguments."""

    words: Sequence[str]
    options: Mapping[str, str]
    """The options of ``wrap``."""

    @property
    def is_for_shell(self) -> bool:
        return len(self.words) == 1

    @property
    def text(self) -> str:
        """As it would be typed."""
        if self.is_for_shell:
            return self.words[0]
        # Imported late: the relay does not need it.
        import shlex

        return shlex.join(self.words)

    def argv(self, environment: Mapping[str, str]) -> list[str]:
        """What is executed: cron starts the shell that SHELL names."""
        if not self.is_for_shell:
            return list(self.words)
        return [environment.get("SHELL") or _DEFAULT_SHELL, "-c", self.words[0]]


def asks_for_help(arguments: Sequence[str]) -> bool:
    return bool(arguments) and arguments[0] in ("-h", "--help")


def parse(arguments: Sequence[str]) -> Line:
    """The line from what follows ``wrap``. Raises UsageError. The ``--`` may be missing."""
    left, options = list(arguments), dict[str, str]()
    while left and left[0] != "--" and left[0].startswith("-"):
        name, equals, value = left.pop(0).partition("=")
        if name in _FLAGS:
            continue
        if name not in _WITH_VALUE:
            raise UsageError(f"unknown option {name}")
        if not equals and not left:
            raise UsageError(f"{name} needs a value")
        options[name] = value if equals else left.pop(0)
    words = left[1:] if left[:1] == ["--"] else left
    if not words or not words[0].strip():
        raise UsageError("there is no command line")
    return Line(words=words, options=options)


def of_relay(arguments: Sequence[str]) -> Line | None:
    """The line from the whole command line of a relay; None if there is none."""
    if "wrap" not in arguments:
        return None
    try:
        return parse(arguments[list(arguments).index("wrap") + 1 :])
    except UsageError:
        return None
