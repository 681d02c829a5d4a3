"""``timeout`` and ``flock``: how long a command may take, and with what it must not overlap."""

import re
import signal
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import timedelta

from jobledger.crontab.wrappers.effects import NOTHING, Effect, Lock, NotUnderstoodError, Options, TimeLimit
from jobledger.jobs.declaration import MAX_TIME_LIMIT

_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(
    r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity)([smhd]?)",
)
_MICROSECOND = timedelta(microseconds=1)


def timeout(options: Options, words: Sequence[str]) -> Effect:
    """The effect of ``timeout``."""
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


def flock(options: Options, words: Sequence[str]) -> Effect:
    """The effect of ``flock`` with a file. By a descriptor, it only takes a lock: see ``descriptor_lock``."""
    if len(words) < 2:
        raise NotUnderstoodError("`flock` runs no command")
    lock = _lock(options, words[0])
    if words[1:2] in (["-c"], ["--command"]):
        return Effect(lock=lock, script=words[2] if len(words) > 2 else "")
    return Effect(lock=lock)


def descriptor_lock(options: Options, words: Sequence[str], files: Mapping[str, str]) -> Lock:
    """The lock that ``flock`` takes by a descriptor, whose file was opened before."""
    if words[0] not in files:
        raise NotUnderstoodError(f"`flock` locks the descriptor {words[0]}, for which the line opens no file")
    return _lock(options, files[words[0]])


def _lock(options: Options, file: str) -> Lock:
    given = {option.lstrip("-"): value for option, value in options}
    if {"s", "shared"} & set(given):
        raise NotUnderstoodError("a lock that is shared (`flock -s`) has no counterpart")
    if {"u", "unlock"} & set(given):
        raise NotUnderstoodError("`flock -u` releases a lock before the line ends")
    limit = next((given[name] for name in ("w", "wait", "timeout") if name in given), "")
    is_immediate = bool({"n", "nb", "nonblock"} & set(given)) or limit in ("0", "0.0")
    return Lock(file=file, waits=not is_immediate, wait_limit="" if is_immediate else limit)
