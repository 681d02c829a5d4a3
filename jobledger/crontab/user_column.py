"""Finds the lines of a crontab that are read with a user column they do not have, or without one they have.

Both kinds of crontab look alike: only the first word after the time tells ``www-data`` from ``run-one``. So
the users and the programs of this machine are looked up, if the line itself and the others leave it open.
"""

import pwd
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace

from jobledger.crontab.calls import PRELUDES, find_call
from jobledger.crontab.lines import BLANKS, Entry, Line
from jobledger.crontab.wrappers import WRAPPERS, NotUnderstoodError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")
_WRAPPED = re.compile(r"\bjobledger wrap\s.*", re.DOTALL)
_USERS = frozenset({"apache", "nobody", "root", "www-data"})
"""Users of most machines that are the names of no programs."""
_PROGRAMS = frozenset({*WRAPPERS, *PRELUDES, "[", "django-admin", "manage.py", "python", "python3"})


def problems_of(lines: Sequence[Line], *, is_system: bool) -> dict[int, str]:
    """What is wrong with the user column, by the number of the line."""
    entries = [line for line in lines if isinstance(line, Entry)]
    if is_system:
        return {
            each.number: f"{each.user!r} is not a user: is this a user's crontab, without that column?"
            for each in entries
            if not _has_user(each)
        }
    found = [each for each in entries if _seems_to_have_user(each)]
    # What is no user here may be one elsewhere, but not if it precedes a command in some lines only.
    is_everywhere = len(found) == len(entries)
    names = {each.number: _parted(each.command)[0] for each in found}
    return {
        number: f"it seems to have a user column, {name!r}: use --system if all lines have one"
        for number, name in names.items()
        if is_everywhere or _is_user(name)
    }


def _has_user(entry: Entry) -> bool:
    user = entry.user or ""
    if not _NAME.fullmatch(user) or user in _PROGRAMS or _calls(entry, f"{user} {entry.command}"):
        return False
    return _is_user(user) or _begins_command(entry.command) or shutil.which(user) is None


def _seems_to_have_user(entry: Entry) -> bool:
    name, rest = _parted(entry.command)
    if not rest or not _NAME.fullmatch(name) or name in _PROGRAMS:
        return False
    if name in _USERS:
        return True
    is_call = _calls(entry, rest) and not _calls(entry, entry.command)
    if _is_user(name):
        return is_call or (shutil.which(name) is None and _is_program(_parted(rest)[0]))
    return is_call and shutil.which(name) is None


def _parted(command: str) -> tuple[str, str]:
    """The first word, and what follows it."""
    name, *rest = re.split(f"[{BLANKS}]+", command.strip(BLANKS), maxsplit=1)
    return name, "".join(rest)


def _is_user(name: str) -> bool:
    if name in _USERS:
        return True
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True


def _begins_command(text: str) -> bool:
    first, _ = _parted(text)
    return first.startswith(("/", "./", "~/", "(", "{")) or "=" in first or _is_program(first)


def _is_program(name: str) -> bool:
    return name in _PROGRAMS or shutil.which(name) is not None


def _calls(entry: Entry, command: str) -> bool:
    """Whether the command is a call of manage.py, be it only to record another command."""
    try:
        find_call(replace(entry, command=_WRAPPED.sub("wrap", command)))
    except NotUnderstoodError:
        return False
    return True
