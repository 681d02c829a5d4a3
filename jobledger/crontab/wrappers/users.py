"""Shells, and commands that run another one as another user."""

from collections.abc import Mapping, Sequence
from getopt import GetoptError, gnu_getopt
from itertools import takewhile
from posixpath import basename

from jobledger.crontab.wrappers.effects import MUST_HAVE_THEM, Effect, NotUnderstoodError, Options

_PROFILE = "the profile"
_READ_BY_SHELL = {"-l": _PROFILE, "--login": _PROFILE, "-i": "the files for interactive use"}
_READ_BY_SUDO = {"-i": _PROFILE, "--login": _PROFILE}
_READ_BY_SU = {"-": _PROFILE, "-l": _PROFILE, "--login": _PROFILE}
SU_SHORT = "lmpPfs:c:g:G:w:"
SU_LONG = (
    *("login", "preserve-environment", "pty", "fast", "shell=", "command=", "session-command=", "group="),
    *("supp-group=", "whitelist-environment="),
)


def shell(options: Options, words: Sequence[str]) -> Effect:
    """The effect of a shell."""
    if "-c" not in dict(options):
        raise NotUnderstoodError(f"it runs a script: {' '.join(words[:1]) or 'from standard input'}")
    return Effect(script=words[0] if words else "", notes=_on_files_of_shell(options, _READ_BY_SHELL))


def sudo(options: Options, words: Sequence[str]) -> Effect:
    """The effect of ``sudo``."""
    values = dict(options)
    variables = assigned(words)
    user = values.get("-u") or values.get("--user") or "root"
    notes = _on_files_of_shell(options, _READ_BY_SUDO)
    return Effect(user=user, variables=variables, skips=count_of_assignments(words), notes=notes)


def _on_files_of_shell(options: Options, files: Mapping[str, str]) -> tuple[str, ...]:
    """What the shell reads first, by option."""
    read = dict.fromkeys(files[option] for option, _ in options if option in files)
    return tuple(f"its shell reads {file} first: {MUST_HAVE_THEM}" for file in read)


def su(options: Options, words: Sequence[str]) -> Effect:
    """The effect of ``su``, whose options may also follow the user."""
    try:
        others, names = gnu_getopt(list(words), SU_SHORT, list(SU_LONG))
    except GetoptError as error:
        raise NotUnderstoodError(f"`su` has an option that is not understood here: {error}") from None
    values = dict([*options, *others])
    scripts = [values[name] for name in ("-c", "--command", "--session-command") if name in values]
    is_login, names = "-" in names, [name for name in names if name != "-"]
    if not scripts or len(names) > 1:
        raise NotUnderstoodError("`su` runs no command" if not scripts else "`su` passes words to a shell")
    shell = values.get("-s") or values.get("--shell") or ""
    notes = _on_files_of_shell([*values.items(), *([("-", "")] if is_login else [])], _READ_BY_SU)
    # Which shell the user has is not known.
    return Effect(
        user=next(iter(names), "root"), script=scripts[0], shell=basename(shell) or "su", notes=notes
    )


def runuser(options: Options, words: Sequence[str]) -> Effect:
    """The effect of ``runuser``: with ``-u``, a command follows; else it is another ``su``."""
    values = dict(options)
    user = values.get("-u") or values.get("--user")
    return Effect(user=user) if user else su(options, words)


def assigned(words: Sequence[str]) -> dict[str, str]:
    """The ``NAME=value`` at the beginning."""
    return dict(parted(word) for word in takewhile(_is_assignment, words))


def count_of_assignments(words: Sequence[str]) -> int:
    """How many there are."""
    return sum(1 for word in takewhile(_is_assignment, words))


def _is_assignment(word: str) -> bool:
    return "=" in word


def parted(word: str) -> tuple[str, str]:
    """Its name and its value."""
    name, _, value = word.partition("=")
    return name, value
