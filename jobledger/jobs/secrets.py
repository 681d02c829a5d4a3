"""Which options of jobs and tasks are secret, and how their values are masked.

An option is secret if its name suggests it (``--api-key``, ``--db-password``, ``token``) or the job
declares it in ``secret_options``. Flags, counts and options with a numeric default are never secret,
whatever their name. For ordinary tasks, jobs that no longer exist, message headers and nested values, only
the names can tell.

Runs and schedules store the actual values, because the job needs them. Whatever is displayed, printed,
logged, sent in an event or written to the audit log is masked first: values by ``masked`` and
``masked_args``, invalid JSON by ``masked_text``, text that may quote values by ``without_secrets``, the
command lines of a job's processes by ``masked_command``, and log messages by ``masked_prose`` as well.
"""

import json
import re
from argparse import Action
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from jobledger.jobs import registry
from jobledger.jobs.json_text import excerpt
from jobledger.jobs.options.argparse_internals import Kind, all_parsers
from jobledger.jobs.options.parser import Option, options_of

MASK = "********"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NAME = re.compile(r"[\w-]+")
# The name of an option, a variable, a header or a key, and what follows it. Without the value, since a search
# that reads values to their ends would take time that is quadratic in the number of names.
_ASSIGNED_NAME = re.compile(r"(?<![\w-])(-[\w-]+(?= )|[\w-]+(?=[\"']?[=:]))( +(?!-)|[\"']?[=:]\s*)")
_ASSIGNED_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|(?<=:)[^'\"]+|(?<=: )[^'\"]+|\S+")
_URL_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s/@]+@")
_URL_KEY = re.compile(r"(\bhttps?://)[^\s:/@]+@")
# A token of the HTTP API, whatever stands before it; as ``admin.tokens`` makes it, or a part of one.
_API_TOKEN = re.compile(r"(?<![A-Za-z0-9])jl_[0-9a-f]{12}_[A-Za-z0-9_-]+")
# In prose, a value ends with the word, unless it is quoted, and names stand beside others in a line.
_PROSE_NAME = re.compile(r"(?<![\w-])(-[\w-]+(?= )|[\w-]+(?=[\"']?[=:]))( +(?!-)|[\"']?[=:][ \t]*)")
_PROSE_VALUE = re.compile(
    r"(?:(?:basic|bearer|digest|token) +)?(?:b?'[^'\n]*'|b?\"[^\"\n]*\"|[^\s,;&'\"(){}\[\]]+)", re.IGNORECASE
)
_SECRET_ENDINGS = (
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
)
_SECRET_WORDS = frozenset({"auth", "authorization", "bearer", "cookie", "dsn", "otp"})
_SECRET_KEYS = frozenset({"access", "api", "encryption", "master", "private", "secret", "signing", "ssh"})
_HARMLESS_LAST_WORDS = frozenset(
    {"age", "count", "day", "dir", "expiry", "field", "file", "hour", "length", "limit", "minute"}
    | {"name", "path", "second", "size", "ttl", "type"}
)
_MIN_ABBREVIATION = 3
_MIN_UNQUOTED_LENGTH = 6
"""Shorter values are replaced only inside quotes, since they may occur in other words."""


@lru_cache(maxsize=1024)
def looks_secret(name: str) -> bool:
    """Whether a name, such as ``db_password`` or ``--api-key``, suggests a secret."""
    words = [_singular(word.lower()) for word in _WORDS.findall(name)]
    if not words or words[-1] in _HARMLESS_LAST_WORDS:
        return False
    is_key = any(word in _SECRET_KEYS and after == "key" for word, after in pairwise(words))
    return is_key or any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def is_secret(job: registry.Job, option: Option) -> bool:
    """Whether the values of this option of the job are secret."""
    taker = option.taker
    if taker is None or option.kind is Kind.SUBCOMMAND:
        return False
    if option.dest in job.declaration.secret_options:
        return True
    is_numeric = isinstance(option.default, int | float)
    return not is_numeric and any(map(looks_secret, _names(taker)))


def masked(job_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the values of secrets replaced by the mask."""
    named = _secret_dests(job_name)
    return {dest: _masked_value(dest, value, named) for dest, value in options.items()}


def masked_args(args: Sequence[Any]) -> list[Any]:
    """The positional arguments, masked. Only nested values have names, so only these can be secret."""
    return [_masked_inside(each) for each in args]


def masked_text(job_name: str, text: str) -> str:
    """A text that is not valid JSON, masked as a whole if it contains the name of a secret."""
    named = _secret_dests(job_name)
    return MASK if any(named.get(word, looks_secret(word)) for word in _NAME.findall(text)) else text


class UnknownMaskError(ValueError):
    """A mask without a stored value that it could stand for."""


def unmasked(posted: Any, stored: Any, displayed: Any) -> Any:
    """The posted value with its masks replaced by the stored values. ``displayed`` is ``stored``, masked.

    A mask stands for the stored value if a mask was displayed in the same place. Raises UnknownMaskError
    for a mask anywhere else.
    """
    match posted:
        case dict():
            known, masks = _dicts(stored, displayed)
            return {name: unmasked(each, known.get(name), masks.get(name)) for name, each in posted.items()}
        case list():
            known, masks = _lists(stored, displayed)
            return [unmasked(each, known.get(index), masks.get(index)) for index, each in enumerate(posted)]
    if posted != MASK:
        return posted
    if displayed != MASK:
        raise UnknownMaskError(f"{MASK} stands for a stored secret, but there is none here")
    return stored


def without_secrets(job_name: str, options: Mapping[str, Any], text: str, *, args: Sequence[Any] = ()) -> str:
    """The text, such as a parser's message, with the values of secret options masked, and their defaults."""
    hidden = [
        *_hidden(options, masked(job_name, options)),
        *_hidden(list(args), masked_args(args)),
        *_secret_defaults(job_name),
    ]
    quotations = {quotation for value in hidden for quotation in _quotations(value)}
    for quotation, replacement in sorted(quotations, key=lambda pair: len(pair[0]), reverse=True):
        text = text.replace(quotation, replacement)
    return text


def masked_command(words: Sequence[str]) -> str:
    """The command line of any process, with the values of what looks like a secret masked."""
    masked_words, is_expected = [], False
    for word in words:
        is_value = is_expected and not word.startswith("--")
        masked_words.append(MASK if is_value else _masked_word(word))
        is_name = re.fullmatch(r"-[\w-]+", word) is not None
        is_expected = not is_value and is_name and looks_secret(word)
    return " ".join(masked_words)


def masked_prose(text: str) -> str:
    """A message or a traceback; masks what follows names of secrets, passwords in URLs, and API tokens."""
    text = _API_TOKEN.sub(MASK, text)
    text = _URL_KEY.sub(rf"\1{MASK}@", _URL_PASSWORD.sub(rf"\1{MASK}@", text))
    return _with_masked_values(text, _PROSE_NAME, _PROSE_VALUE)


def mask_like(value: Any) -> Any:
    """A mask of the same shape as the value, so that it can be formatted as a command line."""
    match value:
        case list() | tuple():
            return [mask_like(each) for each in value]
        case bool() | None:
            return value
        case _:
            return MASK


def _masked_word(word: str) -> str:
    """A word of a command line, which may itself be a command line, a header or JSON."""
    word = _URL_PASSWORD.sub(rf"\1{MASK}@", word)
    whole = _ASSIGNED_NAME.match(word)
    if whole and not whole[2].isspace() and looks_secret(whole[1]):
        return f"{whole[0]}{MASK}"
    return _with_masked_values(word, _ASSIGNED_NAME, _ASSIGNED_VALUE)


def _with_masked_values(text: str, names: re.Pattern[str], values: re.Pattern[str]) -> str:
    parts, position = [], 0
    while found := names.search(text, position):
        parts.append(text[position : found.end()])
        position = found.end()
        # The value of what is not secret may contain a secret's name.
        if looks_secret(found[1]) and (value := values.match(text, position)):
            parts.append(MASK)
            position = value.end()
    return "".join([*parts, text[position:]])


def _singular(word: str) -> str:
    return word if word.endswith("ss") else word.removesuffix("s")


def _names(action: Action) -> tuple[str, ...]:
    return (action.dest, *action.option_strings)


def _masked_value(name: str, value: Any, named: Mapping[str, bool]) -> Any:
    if _is_secret_name(name, named):
        return value if value is None or isinstance(value, bool) else MASK
    # An ordinary task may be given anything, including objects that contain secrets.
    return _masked_inside(value)


def _is_secret_name(name: str, named: Mapping[str, bool]) -> bool:
    if name in named:
        return named[name]
    secret_dests = (dest for dest, is_secret_dest in named.items() if is_secret_dest)
    return looks_secret(name) or any(_may_stand_for(name, dest) for dest in secret_dests)


def _may_stand_for(name: str, dest: str) -> bool:
    """Whether a name that is not an option may be this option's, misspelled or abbreviated."""
    shorter, longer = sorted((name, dest), key=len)
    return len(shorter) >= _MIN_ABBREVIATION and longer.startswith(shorter)


def _masked_inside(value: Any) -> Any:
    match value:
        case dict():
            return {name: _masked_value(str(name), each, {}) for name, each in value.items()}
        case list() | tuple():
            return [_masked_inside(each) for each in value]
        case _:
            return value


def _dicts(stored: Any, displayed: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    are_both = isinstance(stored, dict) and isinstance(displayed, dict)
    return (stored, displayed) if are_both else ({}, {})


def _lists(stored: Any, displayed: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    are_both = isinstance(stored, list) and isinstance(displayed, list)
    return (dict(enumerate(stored)), dict(enumerate(displayed))) if are_both else ({}, {})


def _hidden(stored: Any, displayed: Any) -> Iterator[Any]:
    """Yield the stored values for which a mask is displayed."""
    if displayed == MASK:
        yield stored
        return
    names: Iterable[Any] = ()
    if isinstance(stored, dict):
        names = stored
    elif isinstance(stored, list):
        names = range(len(stored))
    for name in names:
        yield from _hidden(stored[name], displayed[name])


def _quotations(secret: Any) -> Iterator[tuple[str, str]]:
    """Yield the ways in which a message may quote a secret value or a part of it, with their replacements."""
    if secret is None or secret in ("", [], {}) or isinstance(secret, bool):
        return
    # How ``OptionsError`` quotes a value of the wrong shape.
    yield f"not {excerpt(secret)}", f"not {MASK}"
    match secret:
        case dict() | list() | tuple():
            for ascii_only in (False, True):
                yield json.dumps(secret, ensure_ascii=ascii_only, default=repr), MASK
            yield repr(secret), MASK
            parts = [*secret, *secret.values()] if isinstance(secret, dict) else secret
            for part in parts:
                yield from _quotations(part)
        case _:
            yield from _quotations_of_text(str(secret))


def _quotations_of_text(secret: str) -> Iterator[tuple[str, str]]:
    yield repr(secret), repr(MASK)
    yield json.dumps(secret), f'"{MASK}"'
    yield json.dumps(secret, ensure_ascii=False), f'"{MASK}"'
    if len(secret) >= _MIN_UNQUOTED_LENGTH:
        yield secret, MASK
        yield repr(secret)[1:-1], MASK
        yield json.dumps(secret)[1:-1], MASK


def _secret_dests(job_name: str) -> Mapping[str, bool]:
    """Whether each option of the job is secret, by ``dest``; only the declared ones if its parser fails."""
    job = registry.all_jobs().get(job_name)
    if job is None:
        return {}
    try:
        return _dests_of(job)
    except Exception:  # noqa: BLE001 - the command's code may raise anything; secrets must be masked anyway
        return dict.fromkeys(job.declaration.secret_options, True)


def _secret_defaults(job_name: str) -> Sequence[Any]:
    """The defaults of the job's secret options, which may come from settings; none if its parser fails."""
    job = registry.all_jobs().get(job_name)
    try:
        return () if job is None else _defaults_of(job)
    except Exception:  # noqa: BLE001 - as above
        return ()


@cache
def _defaults_of(job: registry.Job) -> Sequence[Any]:
    found = [
        option.default
        for parser in all_parsers(job.create_validating_parser())
        for option in options_of(parser).values()
        if is_secret(job, option)
    ]
    return tuple(each for each in found if isinstance(each, str | list | tuple | dict))


@cache
def _dests_of(job: registry.Job) -> Mapping[str, bool]:
    found: dict[str, bool] = {}
    for parser in all_parsers(job.create_validating_parser()):
        for option in options_of(parser).values():
            found[option.dest] = found.get(option.dest, False) or is_secret(job, option)
    return found
