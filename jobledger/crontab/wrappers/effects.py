"""What a wrapper does to the command that it runs. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

Options = Sequence[tuple[str, str]]
"""As ``getopt`` returns them."""
MUST_HAVE_THEM = "the worker must have the variables that it sets"


class NotUnderstoodError(ValueError):
    """The command line is not understood; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock that the command takes first."""

    file: str
    waits: bool
    """Whether it waits for the lock; otherwise, it does not run while another has it."""
    wait_limit: str = ""
    """For how many seconds it waits; empty: for ever."""


@dataclass(frozen=True, kw_only=True)
class TimeLimit:
    """When the command is told to end, and when it is killed."""

    length: timedelta
    grace: timedelta | None = None
    """How long after that it is killed; None: never, as far as the line says."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a wrapper does to the command that it runs."""

    time_limit: TimeLimit | None = None
    lock: Lock | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those that it sets, with their values; empty if the line does not have them."""
    folder: str = ""
    user: str = ""
    notes: tuple[str, ...] = ()
    script: str | None = None
    """A command line that a shell reads, instead of words."""
    shell: str = ""
    """The shell that reads it; empty: the wrapper itself is one, or it is the same."""
    skips: int = 0
    """How many of the words after the positionals belong to the wrapper as well."""


NOTHING = Effect()
