"""Commands that run another command: what follows them, and what they change about it.

Their options are read with ``getopt``, which stops at the first word that is not an option, as they do.
An option that is not listed here is reported rather than guessed.
"""

import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import timedelta
from getopt import GetoptError, getopt
from itertools import takewhile

from jobledger.jobs.declaration import MAX_TIME_LIMIT

Options = Sequence[tuple[str, str]]

_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(
    r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity)([smhd]?)",
)
_MICROSECOND = timedelta(microseconds=1)


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
    skips: int = 0
    """How many of the words after the positionals belong to the wrapper as well."""


NOTHING = Effect()
MUST_HAVE_THEM = "the worker must have the variables that it sets"
_PROFILE = "the profile"
_READ_BY_SHELL = {"-l": _PROFILE, "--login": _PROFILE, "-i": "the files for interactive use"}
_READ_BY_SUDO = {"-i": _PROFILE, "--login": _PROFILE}
LOCKS = frozenset({"flock"})
"""Wrappers that pass a command line on to the same shell."""
Apply = Callable[[Options, Sequence[str]], Effect]
"""Takes its options, and all words that follow them."""


@dataclass(frozen=True, kw_only=True)
class Wrapper:
    """How a wrapper's command line is read."""

    short: str = ""
    long: Sequence[str] = ()
    positionals: int = 0
    """How many words, such as timeout's duration, come before the command."""
    apply: Apply = lambda options, words: NOTHING


@dataclass(frozen=True, kw_only=True)
class Unwrapped:
    """What is left of a command line without its first wrapper."""

    count: int
    """How many of its last words are the command."""
    effect: Effect


def unwrap(name: str, words: Sequence[str]) -> Unwrapped | None:
    """Remove the wrapper of this name from the words that follow it; None if the command is not a wrapper.

    Raises NotUnderstoodError.
    """
    wrapper = WRAPPERS.get(name)
    return None if wrapper is None else _unwrapped(name, wrapper, words)


def _unwrapped(name: str, wrapper: Wrapper, words: Sequence[str]) -> Unwrapped:
    try:
        options, rest = getopt(list(words), wrapper.short, list(wrapper.long))
    except GetoptError as error:
        raise NotUnderstoodError(f"`{name}` has an option that is not understood here: {error}") from None
    if name in SUBCOMMANDS:
        verb = rest[0] if rest else ""
        if verb not in SUBCOMMANDS[name]:
            raise NotUnderstoodError(f"it does not call manage.py: it runs `{f'{name} {verb}'.strip()}`")
        return _unwrapped(f"{name} {verb}", SUBCOMMANDS[name][verb], rest[1:])
    effect = wrapper.apply(options, rest)
    return Unwrapped(count=max(len(rest) - wrapper.positionals - effect.skips, 0), effect=effect)


def _env(options: Options, words: Sequence[str]) -> Effect:
    variables = _assigned(words)
    if {"-S", "--split-string"} & set(dict(options)):
        raise NotUnderstoodError("`env -S` is not understood here")
    folder = next((value for option, value in options if option in ("-C", "--chdir")), "")
    return Effect(variables=variables, skips=_count_of_assignments(words), folder=folder)


def _timeout(options: Options, words: Sequence[str]) -> Effect:
    values = dict(options)
    length = _duration(words[0] if words else "")
    if length is None:
        return NOTHING
    name = values.get("-s") or values.get("--signal") or "TERM"
    killed_after = values.get("-k") or values.get("--kill-after")
    grace = timedelta(0) if _is_signal(name, "KILL") else _duration(killed_after or "0")
    limit = TimeLimit(length=length, grace=grace)
    return Effect(time_limit=limit, notes=tuple(_on_timeout(set(values), name)))


def _on_timeout(given: Set[str], signal_name: str) -> Iterator[str]:
    """What is different about the end of a run that has exceeded its time limit."""
    if not (_is_signal(signal_name, "TERM") or _is_signal(signal_name, "KILL")):
        yield f"`timeout` ends it with the signal {signal_name}; here, an exception ends the job"
    if given & {"-p", "--preserve-status"}:
        yield "`timeout --preserve-status` exits as the job does; here, a run that has timed out has code 124"
    if given & {"-f", "--foreground"}:
        yield "`timeout --foreground` spares the processes that it has started; here, they end with the job"


def _is_signal(text: str, name: str) -> bool:
    return text.upper().removeprefix("SIG") in (name, str(int(signal.Signals[f"SIG{name}"])))


def _duration(text: str) -> timedelta | None:
    """A duration as `timeout` reads it; None for one that never ends: zero, or longer than any limit."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise NotUnderstoodError(f"`timeout` has no duration that is understood: {text!r}")
    seconds = float(found[1]) * timedelta(**{_UNITS[found[2]]: 1}).total_seconds()
    if seconds == 0 or seconds > MAX_TIME_LIMIT.total_seconds():
        return None
    return max(timedelta(seconds=seconds), _MICROSECOND)


def _flock(options: Options, words: Sequence[str]) -> Effect:
    given = {option.lstrip("-"): value for option, value in options}
    if {"s", "shared"} & set(given):
        raise NotUnderstoodError("a lock that is shared (`flock -s`) has no counterpart")
    if {"u", "unlock"} & set(given) or not words or words[0].isdecimal():
        raise NotUnderstoodError("`flock` is used with a file descriptor")
    limit = next((given[name] for name in ("w", "wait", "timeout") if name in given), "")
    is_immediate = bool({"n", "nb", "nonblock"} & set(given)) or limit in ("0", "0.0")
    lock = Lock(file=words[0], waits=not is_immediate, wait_limit="" if is_immediate else limit)
    if words[1:2] in (["-c"], ["--command"]):
        return Effect(lock=lock, script=words[2] if len(words) > 2 else "")
    return Effect(lock=lock)


def _shell(options: Options, words: Sequence[str]) -> Effect:
    if "-c" not in dict(options):
        raise NotUnderstoodError(f"it runs a script: {' '.join(words[:1]) or 'from standard input'}")
    return Effect(script=words[0] if words else "", notes=_on_files_of_shell(options, _READ_BY_SHELL))


def _sudo(options: Options, words: Sequence[str]) -> Effect:
    values = dict(options)
    variables = _assigned(words)
    user = values.get("-u") or values.get("--user") or "root"
    notes = _on_files_of_shell(options, _READ_BY_SUDO)
    return Effect(user=user, variables=variables, skips=_count_of_assignments(words), notes=notes)


def _on_files_of_shell(options: Options, files: Mapping[str, str]) -> tuple[str, ...]:
    """What the shell reads first, by option."""
    read = dict.fromkeys(files[option] for option, _ in options if option in files)
    return tuple(f"its shell reads {file} first: {MUST_HAVE_THEM}" for file in read)


def _su(options: Options, words: Sequence[str]) -> Effect:
    raise NotUnderstoodError("`su` is not understood here; `sudo -u USER` is")


def _assigned(words: Sequence[str]) -> dict[str, str]:
    """The ``NAME=value`` at the beginning."""
    return dict(_parted(word) for word in takewhile(_is_assignment, words))


def _count_of_assignments(words: Sequence[str]) -> int:
    return sum(1 for word in takewhile(_is_assignment, words))


def _is_assignment(word: str) -> bool:
    return "=" in word


def _parted(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _container(options: Options, words: Sequence[str]) -> Effect:
    variables = dict(_parted(value) for option, value in options if option in ("-e", "--env"))
    folder = next((value for option, value in options if option in ("-w", "--workdir")), "")
    where = f"it runs in the container {words[0]!r}: the worker must be built from the same image"
    notes = (where, *_on_variable_files(options))
    return Effect(variables=variables, folder=folder, notes=notes) if words else NOTHING


def _runner(options: Options, words: Sequence[str]) -> Effect:
    values = dict(options)
    folder = values.get("--directory") or values.get("--project") or values.get("-C") or ""
    return Effect(folder=folder, notes=_on_variable_files(options))


def _on_variable_files(options: Options) -> tuple[str, ...]:
    files = [value for option, value in options if option == "--env-file"]
    return tuple(f"it reads {file} first: {MUST_HAVE_THEM}" for file in files)


def _noted(note: str) -> Apply:
    return lambda options, words: Effect(notes=(note,))


def _priority(name: str) -> Apply:
    return _noted(f"`{name}` has no effect here: the job has the priority of its worker")


_EXEC = Wrapper(
    short="dTtie:u:w:",
    long=(
        *("detach", "no-TTY", "no-tty", "tty", "interactive", "interactive=", "privileged"),
        *("env=", "user=", "workdir=", "index=", "env-file=", "detach-keys="),
    ),
    positionals=1,
    apply=_container,
)
_RUN = Wrapper(
    short="dTtie:u:w:v:p:l:P",
    long=(
        *("detach", "no-TTY", "no-tty", "rm", "no-deps", "build", "service-ports", "quiet-pull"),
        *("remove-orphans", "use-aliases", "interactive", "env=", "user=", "workdir=", "name=", "volume="),
        *("publish=", "label="),
    ),
    positionals=1,
    apply=_container,
)
_COMPOSE = Wrapper(
    short="f:p:",
    long=(
        *("file=", "project-name=", "profile=", "env-file=", "project-directory=", "ansi=", "progress="),
        *("parallel=", "compatibility"),
    ),
)
_SHELL = Wrapper(short="ceiluxo:O:", long=("login", "norc", "noprofile", "posix"), apply=_shell)

WRAPPERS: Mapping[str, Wrapper] = {
    "bash": _SHELL,
    "chronic": Wrapper(
        short="ve", apply=_noted("`chronic` prints output only if the job fails; a run always has it")
    ),
    "chrt": Wrapper(short="abfiomprRvT:P:D:", positionals=1, apply=_priority("chrt")),
    "command": Wrapper(),
    "cronic": Wrapper(apply=_noted("`cronic` prints output only if the job fails; a run always has it")),
    "dash": _SHELL,
    "docker": Wrapper(short="c:DH:l:", long=("config=", "context=", "debug", "host=", "log-level=")),
    "docker-compose": _COMPOSE,
    "env": Wrapper(
        short="i0vu:C:S:",
        long=("ignore-environment", "unset=", "chdir=", "split-string=", "debug", "null"),
        apply=_env,
    ),
    "exec": Wrapper(short="cla:"),
    "flock": Wrapper(
        short="+sexnuw:E:oFv",
        long=(
            *("shared", "exclusive", "nonblock", "nb", "unlock", "timeout=", "wait=", "close", "no-fork"),
            *("conflict-exit-code=", "verbose"),
        ),
        positionals=1,
        apply=_flock,
    ),
    "ionice": Wrapper(short="c:n:t", long=("class=", "classdata=", "ignore"), apply=_priority("ionice")),
    "nice": Wrapper(short="n:0123456789", long=("adjustment=",), apply=_priority("nice")),
    "nohup": Wrapper(),
    "pdm": Wrapper(),
    "pipenv": Wrapper(),
    "poetry": Wrapper(
        short="C:nqv", long=("directory=", "project=", "no-interaction", "quiet"), apply=_runner
    ),
    "setsid": Wrapper(short="cfw", long=("ctty", "fork", "wait")),
    "sh": _SHELL,
    "stdbuf": Wrapper(short="i:o:e:", long=("input=", "output=", "error=")),
    "su": Wrapper(short="lmps:c:", apply=_su),
    "sudo": Wrapper(
        short="bEHnSkPu:g:h:D:i",
        long=(
            *("background", "preserve-env", "set-home", "non-interactive", "user=", "group=", "chdir="),
            "login",
        ),
        apply=_sudo,
    ),
    "time": Wrapper(
        short="pvaqo:f:", long=("portability", "verbose", "append", "quiet", "output=", "format=")
    ),
    "timeout": Wrapper(
        short="fpvk:s:",
        long=("foreground", "preserve-status", "verbose", "kill-after=", "signal="),
        positionals=1,
        apply=_timeout,
    ),
    "uv": Wrapper(short="qvn", long=("quiet", "verbose", "no-cache", "offline", "directory=", "project=")),
}

SUBCOMMANDS: Mapping[str, Mapping[str, Wrapper]] = {
    "docker": {"compose": _COMPOSE, "exec": _EXEC},
    "docker compose": {"exec": _EXEC, "run": _RUN},
    "docker-compose": {"exec": _EXEC, "run": _RUN},
    "pdm": {"run": Wrapper(short="p:s", long=("project=", "site-packages"), apply=_runner)},
    "pipenv": {"run": Wrapper(apply=_noted(f"it reads .env first, if there is one: {MUST_HAVE_THEM}"))},
    "poetry": {"run": Wrapper()},
    "uv": {
        "run": Wrapper(
            short="qvnp:C:",
            long=(
                *("quiet", "verbose", "no-cache", "offline", "frozen", "locked", "no-sync", "no-dev"),
                *("all-extras", "all-groups", "active", "exact", "isolated", "no-project", "no-env-file"),
                *(
                    "extra=",
                    "group=",
                    "only-group=",
                    "with=",
                    "python=",
                    "directory=",
                    "project=",
                    "package=",
                ),
                "env-file=",
            ),
            apply=_runner,
        )
    },
}
"""Wrappers whose first word says what they do. Any other word is not understood."""
