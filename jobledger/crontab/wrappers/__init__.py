"""Commands that run another command: what follows them, and what they change about it.

Their options are read with ``getopt``, which stops at the first word that is not an option, as they do.
An option that is not listed here is reported rather than guessed.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from getopt import GetoptError, getopt

from jobledger.crontab.wrappers import limits, users
from jobledger.crontab.wrappers.effects import (
    MUST_HAVE_THEM,
    NOTHING,
    Effect,
    Lock,
    NotUnderstoodError,
    Options,
    TimeLimit,
)
from jobledger.crontab.wrappers.users import assigned, count_of_assignments, parted

__all__ = ["MUST_HAVE_THEM", "Effect", "Lock", "NotUnderstoodError", "TimeLimit", "descriptor_lock", "unwrap"]

SAME_SHELL = frozenset({"env", "flock"})
"""Wrappers whose command line is read as if by the same shell."""
_SPECIAL_TO_ENV = frozenset("\\$#`*?~{")
"""To ``env -S`` itself, or to the shell before it, which may have computed the text."""
_POD_SHORT = "c:iqtn:f:"
_POD_LONG = (
    *("container=", "stdin", "tty", "quiet", "namespace=", "context=", "kubeconfig=", "filename="),
    *("pod-running-timeout=", "stdin=", "tty="),
)
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


def descriptor_lock(words: Sequence[str], files: Mapping[str, str]) -> Lock | None:
    """The lock that ``flock`` with these words takes by a descriptor; None if it runs a command.

    ``files`` are the files that the line has opened, by their descriptors. Raises NotUnderstoodError.
    """
    wrapper = WRAPPERS["flock"]
    try:
        options, rest = getopt(list(words), wrapper.short.lstrip("+"), list(wrapper.long))
    except GetoptError:
        return None
    return limits.descriptor_lock(options, rest, files) if len(rest) == 1 and rest[0].isdecimal() else None


def _unwrapped(name: str, wrapper: Wrapper, words: Sequence[str]) -> Unwrapped:
    try:
        options, rest = _options_and_rest(words, wrapper.short, wrapper.long)
    except GetoptError as error:
        raise NotUnderstoodError(f"`{name}` has an option that is not understood here: {error}") from None
    if name in SUBCOMMANDS:
        verb = rest[0] if rest else ""
        if verb not in SUBCOMMANDS[name]:
            raise NotUnderstoodError(f"it does not call manage.py: it runs `{f'{name} {verb}'.strip()}`")
        return _unwrapped(f"{name} {verb}", SUBCOMMANDS[name][verb], rest[1:])
    effect = wrapper.apply(options, rest)
    return Unwrapped(count=max(len(rest) - wrapper.positionals - effect.skips, 0), effect=effect)


def _options_and_rest(words: Sequence[str], short: str, long: Sequence[str]) -> tuple[Options, Sequence[str]]:
    """As ``getopt`` reads them, which does not know optional values: ``--stdin`` and ``--stdin=true``."""
    optional = {f"--{name}" for name in long if f"{name}=" in long}
    plain = [name if (name := word.partition("=")[0]) in optional else word for word in words]
    options, rest = getopt(plain, short, list(long))
    return options, words[len(words) - len(rest) :]


def _env(options: Options, words: Sequence[str]) -> Effect:
    variables = assigned(words)
    values = dict(options)
    if (split := values.get("-S") or values.get("--split-string")) is not None:
        return _split(split, words)
    folder = next((value for option, value in options if option in ("-C", "--chdir")), "")
    skips, notes = count_of_assignments(words), tuple(_on_removed_variables(options))
    return Effect(variables=variables, skips=skips, folder=folder, notes=notes)


def _on_removed_variables(options: Options) -> Iterator[str]:
    names = [value for option, value in options if option in ("-u", "--unset")]
    if {"-i", "--ignore-environment"} & {option for option, _ in options}:
        yield "`env -i` starts it without cron's variables; here, it has those of the worker"
    elif names:
        yield f"`env -u` removes {', '.join(names)}; here, it has the variables of the worker"


def _split(text: str, words: Sequence[str]) -> Effect:
    """The effect of ``env -S``, which itself reads a text as words."""
    if words or set(text) & _SPECIAL_TO_ENV:
        raise NotUnderstoodError("`env -S` is understood only with plain words, and no others after them")
    try:
        return Effect(script=shlex.join(["env", *shlex.split(text)]))
    except ValueError:
        raise NotUnderstoodError("`env -S` has a quote without an end") from None


def _container(options: Options, words: Sequence[str]) -> Effect:
    if not words:
        return NOTHING
    variables = dict(parted(value) for option, value in options if option in ("-e", "--env"))
    folder = next((value for option, value in options if option in ("-w", "--workdir")), "")
    where = f"it runs in the container {words[0]!r}: the worker must be built from the same image"
    notes = (where, *_on_variable_files(options))
    return Effect(variables=variables, folder=folder, notes=notes)


def _pod(options: Options, words: Sequence[str]) -> Effect:
    """The effect of ``kubectl exec``, whose options may also follow the pod, up to ``--``."""
    end = words.index("--") if "--" in words else 0
    try:
        others = _options_and_rest(words[1:end], _POD_SHORT, _POD_LONG)[1]
    except GetoptError as error:
        raise NotUnderstoodError(f"`kubectl exec` has an option that is not understood: {error}") from None
    if not end or others:
        raise NotUnderstoodError("`kubectl exec` has no `--` before the command")
    where = f"it runs in the pod {words[0]!r}: the worker must be built from the same image"
    return Effect(skips=end, notes=(where,))


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
_SHELL = Wrapper(short="ceiluxo:O:", long=("login", "norc", "noprofile", "posix"), apply=users.shell)

WRAPPERS: Mapping[str, Wrapper] = {
    "bash": _SHELL,
    "chronic": Wrapper(
        short="ve", apply=_noted("`chronic` prints output only if the job fails; a run always has it")
    ),
    "chrt": Wrapper(short="abfiomprRvT:P:D:", positionals=1, apply=_priority("chrt")),
    "command": Wrapper(),
    "conda": Wrapper(short="v", long=("verbose", "no-plugins")),
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
        apply=limits.flock,
    ),
    "ionice": Wrapper(short="c:n:t", long=("class=", "classdata=", "ignore"), apply=_priority("ionice")),
    "kubectl": Wrapper(short="n:s:", long=("namespace=", "context=", "kubeconfig=", "cluster=", "user=")),
    "mamba": Wrapper(short="v", long=("verbose",)),
    "micromamba": Wrapper(short="r:n:p:", long=("root-prefix=", "name=", "prefix=")),
    "nice": Wrapper(short="n:0123456789", long=("adjustment=",), apply=_priority("nice")),
    "nohup": Wrapper(),
    "pdm": Wrapper(),
    "pipenv": Wrapper(),
    "oc": Wrapper(short="n:s:", long=("namespace=", "context=", "kubeconfig=", "cluster=", "user=")),
    "poetry": Wrapper(
        short="C:nqv", long=("directory=", "project=", "no-interaction", "quiet"), apply=_runner
    ),
    "runuser": Wrapper(short=users.SU_SHORT + "u:", long=(*users.SU_LONG, "user="), apply=users.runuser),
    "setsid": Wrapper(short="cfw", long=("ctty", "fork", "wait")),
    "sh": _SHELL,
    "stdbuf": Wrapper(short="i:o:e:", long=("input=", "output=", "error=")),
    "su": Wrapper(short=users.SU_SHORT, long=users.SU_LONG, apply=users.su),
    "sudo": Wrapper(
        short="bEHnSkPu:g:h:D:i",
        long=(
            *("background", "preserve-env", "set-home", "non-interactive", "user=", "group=", "chdir="),
            "login",
        ),
        apply=users.sudo,
    ),
    "time": Wrapper(
        short="pvaqo:f:", long=("portability", "verbose", "append", "quiet", "output=", "format=")
    ),
    "timeout": Wrapper(
        short="fpvk:s:",
        long=("foreground", "preserve-status", "verbose", "kill-after=", "signal="),
        positionals=1,
        apply=limits.timeout,
    ),
    "uv": Wrapper(short="qvn", long=("quiet", "verbose", "no-cache", "offline", "directory=", "project=")),
}

_CONDA_RUN = Wrapper(
    short="n:p:v",
    long=(
        *("name=", "prefix=", "verbose", "dev", "debug-wrapper-scripts", "no-capture-output", "live-stream"),
        "cwd=",
    ),
    apply=lambda options, words: Effect(folder=dict(options).get("--cwd", "")),
)
_EXEC_IN_POD = Wrapper(short=_POD_SHORT, long=_POD_LONG, positionals=1, apply=_pod)

SUBCOMMANDS: Mapping[str, Mapping[str, Wrapper]] = {
    "conda": {"run": _CONDA_RUN},
    "docker": {"compose": _COMPOSE, "exec": _EXEC},
    "docker compose": {"exec": _EXEC, "run": _RUN},
    "docker-compose": {"exec": _EXEC, "run": _RUN},
    "kubectl": {"exec": _EXEC_IN_POD},
    "mamba": {"run": _CONDA_RUN},
    "micromamba": {"run": _CONDA_RUN},
    "oc": {"exec": _EXEC_IN_POD},
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
