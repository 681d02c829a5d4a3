"""Puts ``jobledger wrap`` in front of the lines of a crontab, and takes it away again.

Everything else stays as it is, byte for byte. A line that is wrapped already is left alone, and unwrapping
what was wrapped here gives the original.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from posixpath import basename

from jobledger.crontab.expansion import SHELL
from jobledger.crontab.lines import Entry, encoded, parse

MAX_COMMAND_BYTES = 998
"""Debian's cron silently cuts off what is longer."""
_SHELLS = frozenset({"ash", "bash", "busybox", "dash", "ksh", "mksh", "sh", "zsh"})
"""What is in single quotes means the same to all of them."""
_CALL = re.compile(r"(?:^|[\s/])jobledger wrap\s")
_END = re.compile(r"(?:^|\s)--\s+")
_QUOTED = re.compile(r"'(?:[^']|'\\'')*'")
_SHELL_CHARACTERS = frozenset("'\"\\$`")


@dataclass(frozen=True, kw_only=True)
class Left:
    """A line with a command that is left as it is."""

    number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A crontab with some of its commands replaced."""

    text: str
    changed: Sequence[Entry]
    """The lines as they were."""
    left: Sequence[Left]


class _LeftError(Exception):
    """The line is left as it is; the message says why."""


def wrap(text: str, launcher: str, *, is_system: bool = False) -> Rewritten:
    """Put the launcher, such as ``/srv/manage.py jobledger wrap --``, in front of each command."""
    return _rewritten(text, lambda entry: _wrapped(entry, launcher), is_system=is_system)


def unwrap(text: str, *, is_system: bool = False) -> Rewritten:
    """Take away what ``wrap`` has added, whatever its launcher was."""
    return _rewritten(text, _unwrapped, is_system=is_system)


def _rewritten(text: str, rewrite: Callable[[Entry], str], *, is_system: bool) -> Rewritten:
    parts, changed, left = [], [], []
    for line in parse(text, is_system=is_system):
        parts.append(line.source)
        if not isinstance(line, Entry):
            continue
        try:
            parts[-1] = f"{line.before}{rewrite(line)}{line.ending}"
            changed.append(line)
        except _LeftError as error:
            left.append(Left(number=line.number, reason=str(error)))
    return Rewritten(text="".join(parts), changed=changed, left=left)


def _wrapped(entry: Entry, launcher: str) -> str:
    if _CALL.search(entry.command):
        raise _LeftError("it is wrapped already")
    shell = entry.variables.get(SHELL, "/bin/sh")
    if basename(shell) not in _SHELLS:
        raise _LeftError(f"it is run by {shell}, whose quotes are not known here")
    command, rest = _parted(entry.command)
    # Cron sees quotes as any other character, so that what it does with a backslash remains the same.
    quoted = command.replace("'", r"'\''")
    wrapped = f"{_for_cron(launcher)} '{quoted}'{rest}"
    if (size := len(encoded(wrapped))) > MAX_COMMAND_BYTES:
        raise _LeftError(f"it would be {size} bytes long, and cron cuts off what is longer than 998")
    return wrapped


def _unwrapped(entry: Entry) -> str:
    call = _CALL.search(entry.command)
    end = _END.search(entry.command, call.end() - 1) if call else None
    if end is None:
        raise _LeftError("it is not wrapped")
    command, rest = _parted(entry.command[end.end() :])
    if _QUOTED.fullmatch(command):
        return command[1:-1].replace(r"'\''", "'") + rest
    if _SHELL_CHARACTERS & set(command):
        raise _LeftError("it is wrapped by hand, with other quotes")
    return command + rest


def _parted(command: str) -> tuple[str, str]:
    """The source of what the shell gets, and the rest from the first unescaped percent sign on."""
    is_escaped = False
    for position, character in enumerate(command):
        if character == "%" and not is_escaped:
            return command[:position], command[position:]
        is_escaped = character == "\\" and not is_escaped
    return command, ""


def _for_cron(text: str) -> str:
    return text.replace("%", r"\%")
