"""What is secret among what jobs and tasks are given, and the mask that is shown in its place.

An option is secret when its name says so (``--api-key``, ``--db-password``, ``token``) or when the job's
author does (``secret_options``). Flags, counts and options whose default is a number hold no secret,
whatever they are called. Of a job that is gone, of an ordinary task, of message headers and of what is nested
in a value, only the names are known.

What a run or a schedule stores stays as it is: the job needs it. Whatever is shown, printed, logged, sent in
an event or written into the audit log passes one of these functions first: ``masked`` and ``masked_args`` for
values, ``masked_text`` for JSON that cannot be read, ``without_secrets`` for a text that may quote values.
"""

import json
import re
from argparse import Action
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from jobledger.jobs import registry
from jobledger.jobs.json_text import excerpt
from jobledger.jobs.options.argparse_internals import Kind, all_parsers
from jobledger.jobs.options.parser import Option, options_of

MASK = "********"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NAME = re.compile(r"[\w-]+")
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
_SHORTEST_TO_FIND = 6
"""A shorter text is found between quotes only: it may well be a part of other words."""


def looks_secret(name: str) -> bool:
    """Whether a name, such as ``db_password`` or ``--api-key``, is that of a secret."""
    words = [_singular(word.lower()) for word in _WORDS.findall(name)]
    if not words or words[-1] in _HARMLESS_LAST_WORDS:
        return False
    is_key = any(word in _SECRET_KEYS and after == "key" for word, after in pairwise(words))
    return is_key or any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def is_secret(job: registry.Job, option: Option) -> bool:
    """Whether what this option of the job is given must not be seen."""
    taker = option.taker
    if taker is None or option.kind is Kind.SUBCOMMAND:
        return False
    if option.dest in job.declaration.secret_options:
        return True
    is_figure = isinstance(option.default, int | float)
    return not is_figure and any(map(looks_secret, _names(taker)))


def masked(job_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as they may be shown: a secret's value is a mask, the others are as they were."""
    named = _secret_dests(job_name)
    return {dest: _masked_value(dest, value, named) for dest, value in options.items()}


def masked_args(args: Sequence[Any]) -> list[Any]:
    """Positional arguments as they may be shown: secret can only be what has a name, inside of them."""
    return [_masked_inside(each) for each in args]


def masked_text(job_name: str, text: str) -> str:
    """A text that should have been JSON as it may be shown: as it is, unless a name in it is a secret's."""
    named = _secret_dests(job_name)
    return MASK if any(named.get(word, looks_secret(word)) for word in _NAME.findall(text)) else text


class UnknownMaskError(ValueError):
    """A mask that stands for no stored value."""


def unmasked(posted: Any, stored: Any, shown: Any) -> Any:
    """What was posted, with the stored values for its masks. ``shown`` is ``stored``, masked.

    A mask that comes back where one was shown stands for the stored value. Raises UnknownMaskError for
    one anywhere else.
    """
    match posted:
        case dict():
            known, masks = _dicts(stored, shown)
            return {name: unmasked(each, known.get(name), masks.get(name)) for name, each in posted.items()}
        case list():
            known, masks = _lists(stored, shown)
            return [unmasked(each, known.get(index), masks.get(index)) for index, each in enumerate(posted)]
    if posted != MASK:
        return posted
    if shown != MASK:
        raise UnknownMaskError(f"{MASK} stands for a stored secret, and there is none in this place")
    return stored


def without_secrets(job_name: str, options: Mapping[str, Any], text: str, *, args: Sequence[Any] = ()) -> str:
    """The text, such as a parser's message, without the values of the options that are secret."""
    hidden = [
        *_hidden(options, masked(job_name, options)),
        *_hidden(list(args), masked_args(args)),
    ]
    quotations = {quotation for value in hidden for quotation in _quotations(value)}
    for quotation, shown in sorted(quotations, key=lambda pair: len(pair[0]), reverse=True):
        text = text.replace(quotation, shown)
    return text


def mask_like(value: Any) -> Any:
    """A mask of the value's own shape, so that it can stand in a command line."""
    match value:
        case list() | tuple():
            return [mask_like(each) for each in value]
        case bool() | None:
            return value
        case _:
            return MASK


def _singular(word: str) -> str:
    return word if word.endswith("ss") else word.removesuffix("s")


def _names(action: Action) -> tuple[str, ...]:
    return (action.dest, *action.option_strings)


def _masked_value(name: str, value: Any, named: Mapping[str, bool]) -> Any:
    if named[name] if name in named else looks_secret(name):
        return value if value is None or isinstance(value, bool) else MASK
    # An ordinary task may be given anything, also objects with secrets inside.
    return _masked_inside(value)


def _masked_inside(value: Any) -> Any:
    match value:
        case dict():
            return {name: _masked_value(str(name), each, {}) for name, each in value.items()}
        case list() | tuple():
            return [_masked_inside(each) for each in value]
        case _:
            return value


def _dicts(stored: Any, shown: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    are_both = isinstance(stored, dict) and isinstance(shown, dict)
    return (stored, shown) if are_both else ({}, {})


def _lists(stored: Any, shown: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    are_both = isinstance(stored, list) and isinstance(shown, list)
    return (dict(enumerate(stored)), dict(enumerate(shown))) if are_both else ({}, {})


def _hidden(stored: Any, shown: Any) -> Iterator[Any]:
    """What is stored where a mask is shown."""
    if shown == MASK:
        yield stored
        return
    names: Iterable[Any] = ()
    if isinstance(stored, dict):
        names = stored
    elif isinstance(stored, list):
        names = range(len(stored))
    for name in names:
        yield from _hidden(stored[name], shown[name])


def _quotations(secret: Any) -> Iterator[tuple[str, str]]:
    """How a message may quote a secret value, or a part of it, and what is shown instead."""
    if secret is None or secret in ("", [], {}) or isinstance(secret, bool):
        return
    # As it stands in what ``OptionsError`` says of a value of the wrong shape.
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
    if len(secret) >= _SHORTEST_TO_FIND:
        yield secret, MASK
        yield repr(secret)[1:-1], MASK
        yield json.dumps(secret)[1:-1], MASK


def _secret_dests(job_name: str) -> Mapping[str, bool]:
    """The job's options by ``dest``, and whether each is secret; none when its parser cannot be had."""
    job = registry.all_jobs().get(job_name)
    if job is None:
        return {}
    try:
        return _dests_of(job)
    except Exception:  # noqa: BLE001 - a command's own code may raise anything; its names are still masked
        return dict.fromkeys(job.declaration.secret_options, True)


@cache
def _dests_of(job: registry.Job) -> Mapping[str, bool]:
    found: dict[str, bool] = {}
    for parser in all_parsers(job.create_parser()):
        for option in options_of(parser).values():
            found[option.dest] = found.get(option.dest, False) or is_secret(job, option)
    return found
