"""Secrets in what is logged: their values, wherever these are known, and what a message says to be one.

Known are the passwords, keys and tokens in the settings, in the environment, and in the files that variables
such as ``SECRET_KEY_FILE`` name, the passwords in their URLs, and the secret options of the run that logs.
Besides, ``jobs.secrets`` masks what follows the name of a secret, as in ``token=…``, and passwords in any
URL.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from django.conf import settings
from django.core.signals import setting_changed

from jobledger.jobs import secrets
from jobledger.logs.running import LoggedRun

MIN_LENGTH = 6
"""Shorter values may occur in other words."""
MAX_FILE_BYTES = 64 * 1024
MAX_DEPTH = 6
FILE = "_FILE"
# The working directory, not a password.
_HARMLESS = {"PWD", "OLDPWD"}
_is_reading_options = ContextVar("is_reading_options", default=False)
_WORDS = re.compile(r"[a-z0-9]+")
# Either of them may be one: https://key@sentry.example.com/1
_CREDENTIALS = re.compile(r"://([^\s/@:]*)(?::([^\s/@]*))?@")


def masked(text: str, run: LoggedRun | None = None) -> str:
    """The text without secrets."""
    # While the job's parser is built, which may log as well, its options are not known yet.
    if run is not None and not _is_reading_options.get():
        token = _is_reading_options.set(True)
        try:
            text = secrets.without_secrets(run.job, run.options, text)
        finally:
            _is_reading_options.reset(token)
    if (known := _known()) is not None:
        text = known.sub(secrets.MASK, text)
    return secrets.masked_prose(text)


def _known() -> re.Pattern[str] | None:
    # What is logged while the settings are being loaded must not load them.
    return _pattern_with_settings() if settings.configured else _pattern(frozenset(_of_environment()))


@cache
def _pattern_with_settings() -> re.Pattern[str] | None:
    return _pattern(frozenset([*_of_environment(), *_of_settings()]))


@cache
def _pattern(values: frozenset[str]) -> re.Pattern[str] | None:
    forms = {form for value in values for form in _forms(value.strip())}
    long = sorted((form for form in forms if len(form) >= MIN_LENGTH), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, long))) if long else None


def _forms(value: str) -> set[str]:
    """The ways in which a value may be quoted."""
    return {value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value, safe=""), unquote(value)}


def _of_settings() -> Iterator[str]:
    for name in filter(str.isupper, dir(settings)):
        # Whatever a project has put there, its messages are logged.
        with suppress(Exception):
            yield from list(_in(name, getattr(settings, name)))


def _of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if name in _HARMLESS:
            continue
        yield from _in(name, value)
        if name.endswith(FILE) and (content := _content(value)):
            yield from _in(name.removesuffix(FILE), content)


def _in(name: str, value: Any, depth: int = 0) -> Iterator[str]:
    """The secrets in a value of this name."""
    if depth > MAX_DEPTH:
        return
    # Not what only claims to be a text, such as Django's lazy ones.
    if issubclass(type(value), str):
        if _names_a_secret(name):
            yield value
        yield from _passwords(value)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _in(str(key), each, depth + 1)
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from _in(name, each, depth + 1)


def _passwords(text: str) -> Iterator[str]:
    """Those in URLs."""
    for user, password in _CREDENTIALS.findall(text):
        yield password or user


def _names_a_secret(name: str) -> bool:
    """Stricter than for options: AUTH_USER_MODEL and PASSWORD_HASHERS are none, SECRET_KEY_FALLBACKS are."""
    words = _WORDS.findall(name.lower().removesuffix("_fallbacks"))
    tail = words[-2:] if words[-1:] == ["key"] else words[-1:]
    return secrets.looks_secret("_".join(tail))


def _content(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return ""


def _forget(**kwargs: object) -> None:
    _pattern_with_settings.cache_clear()


setting_changed.connect(_forget)
