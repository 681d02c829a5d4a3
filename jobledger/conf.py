"""The service's settings: defaults, which ``JOBLEDGER = {…}`` in the project's settings overrides.

``docs/reference/settings.md`` describes each key. An invalid value stops every process when it starts; an
unknown key is reported by a system check.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from ipaddress import ip_network
from os import PathLike
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from jobledger.jobs.declaration import Schedule

NAME = "JOBLEDGER"
_YEAR_SECONDS = 366 * 24 * 60 * 60
_CENTURY_DAYS = 100 * 366
MAX_SHELL_COMMAND_NAME_LENGTH = 100
MIN_TOKEN_LENGTH = 16
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]*)?")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of ``JOBLEDGER`` with their defaults. Raises ImproperlyConfigured for an invalid value."""

    EXPOSED_COMMANDS: Collection[str] | Mapping[str, Mapping[str, Any]] = ()
    SCHEDULABLE_TASKS: Collection[str] = ()
    SCHEDULES: Mapping[str, Sequence[Schedule]] = field(default_factory=dict)
    CALENDARS: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    ENVIRONMENT: str = ""
    ENVIRONMENTS: Collection[str] = ()
    SHELL_COMMANDS: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    HEARTBEAT_SECONDS: float = 2
    LEASE_SECONDS: float = 60
    SHUTDOWN_GRACE_SECONDS: float = 540
    REPUBLISH_AFTER_SECONDS: float = 60
    RUN_OUTPUT_LIMIT_BYTES: int = 1024 * 1024
    RUN_OPTIONS_LIMIT_BYTES: int = 64 * 1024
    MESSAGE_LIMIT_BYTES: int = 1024 * 1024
    HEALTH_DIR: str | PathLike[str] = ""
    BASE_URL: str = ""
    ADMIN_SITE: str = "admin"
    ALERT_WAIT_SECONDS: float = 30
    ALERT_INTERVAL_SECONDS: float = 300
    ALERT_DEADLINE_SECONDS: float = 24 * 60 * 60
    BEAT_PING_URL: str = ""
    PING_NETWORKS: Collection[str] = ()
    KEEP_DAYS: float | None = 30
    KEEP_RUNS: int = 100
    KEEP_AUDIT_DAYS: float | None = 30
    METRICS_TOKEN: str = ""
    METRICS_NETWORKS: Collection[str] = ()
    TRACING_SETUP: str = ""
    API_TOKEN_MAX_DAYS: float = 365
    API_REQUESTS_PER_MINUTE: int = 300
    API_ADDRESS_REQUESTS_PER_MINUTE: int = 600
    API_CLIENT_ADDRESS: str = ""
    FEEDS: bool = False
    SENTRY_DSN: str = ""
    SENTRY_ENVIRONMENT: str = ""
    SENTRY_RELEASE: str = ""
    SENTRY_COMMAND_ERRORS: bool = False
    SENTRY_MONITORS: Collection[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, (is_valid, expected) in RULES.items():
            if not is_valid(getattr(self, name)):
                raise _invalid(name, getattr(self, name), expected)
        if self.LEASE_SECONDS < 3 * self.HEARTBEAT_SECONDS:
            expected = f"at least three times HEARTBEAT_SECONDS, which is {self.HEARTBEAT_SECONDS:g}"
            why = "Otherwise, a run with a single late heartbeat would be lost."
            raise _invalid("LEASE_SECONDS", self.LEASE_SECONDS, f"{expected}. {why}")


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(isinstance(each, str) for each in value)


def _are_commands(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return _are_names(value)
    return all(isinstance(name, str) and isinstance(values, Mapping) for name, values in value.items())


def _are_schedules(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(each, list | tuple) for name, each in value.items()
    )


def _are_calendars(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and (isinstance(entries, str) or _are_names(entries))
        for name, entries in value.items()
    )


def _are_shell_commands(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(_is_short_name(name) and _is_shell_command(command) for name, command in value.items())


def _is_short_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_SHELL_COMMAND_NAME_LENGTH


def _is_shell_command(value: Any) -> bool:
    """A text for the shell, or the words of a command."""
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, list | tuple) and bool(value) and _are_names(value)


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _YEAR_SECONDS


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_days(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and 1 <= value <= _CENTURY_DAYS)


def is_address(value: Any) -> bool:
    """Whether it is an HTTP address whose host everything reads in the same way, or empty.

    A user name or percent-encoding in the host, or a backslash, are read differently by different clients.
    """
    if not isinstance(value, str):
        return False
    try:
        address = urlsplit(value)
        return not value or (
            address.scheme in ("http", "https")
            and bool(_HOST_AND_PORT.fullmatch(address.netloc))
            and (address.port is None or address.port > 0)
        )
    except ValueError:
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_dsn(value: Any) -> bool:
    """Whether it is where Sentry takes events, with a key; or empty."""
    if not isinstance(value, str):
        return False
    try:
        dsn = urlsplit(value)
        is_host = dsn.scheme in ("http", "https") and bool(dsn.hostname) and dsn.port != 0
    except ValueError:
        return False
    return not value or (is_host and bool(dsn.username) and dsn.path.rpartition("/")[2].isdecimal())


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and (not value or all(map(str.isidentifier, value.split("."))))


def _are_networks(value: Any) -> bool:
    try:
        return _are_names(value) and all(ip_network(each) for each in value)
    except ValueError:
        return False


def _is_token(value: Any) -> bool:
    """Whether a client can send it in a header, and nobody can guess it; or empty."""
    if not isinstance(value, str):
        return False
    return not value or (
        len(value) >= MIN_TOKEN_LENGTH and value.isascii() and value.isprintable() and " " not in value
    )


_ADDRESS = is_address, "an address such as https://jobs.example.com, or an empty string"
_DURATION = _is_duration, "a positive number of seconds, such as 2.5, and at most a year"
_DAYS = _is_days, "a number of days, at least 1, or None to keep everything, and at most a century"
_SIZE = _is_size, "a number of bytes, such as 65536"
_REQUESTS = _is_size, "a number of requests, such as 300"

RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "EXPOSED_COMMANDS": (
        _are_commands,
        'a list such as ["clearsessions"], or a dictionary such as {"clearsessions": {"max_retries": 3}}',
    ),
    "SCHEDULABLE_TASKS": (_are_names, 'a list of task names or patterns, such as ["billing.*"]'),
    "SCHEDULES": (
        _are_schedules,
        'a dictionary of jobs and their schedules, such as {"clearsessions": [Schedule("@daily")]}',
    ),
    "CALENDARS": (
        _are_calendars,
        'a dictionary of calendars and their entries, such as {"UK holidays": ["holidays GB-ENG"]}',
    ),
    "ENVIRONMENT": (_is_text, 'a name, such as "production"'),
    "ENVIRONMENTS": (_are_names, 'a list of names, such as ["production", "staging"]'),
    "SHELL_COMMANDS": (
        _are_shell_commands,
        'a dictionary such as {"backup": "/usr/local/bin/backup --all"}, with names of up to 100 characters',
    ),
    "HEARTBEAT_SECONDS": _DURATION,
    "LEASE_SECONDS": _DURATION,
    "SHUTDOWN_GRACE_SECONDS": _DURATION,
    "REPUBLISH_AFTER_SECONDS": _DURATION,
    "RUN_OUTPUT_LIMIT_BYTES": _SIZE,
    "RUN_OPTIONS_LIMIT_BYTES": _SIZE,
    "MESSAGE_LIMIT_BYTES": _SIZE,
    "HEALTH_DIR": (lambda value: isinstance(value, str | PathLike), "a directory, or an empty string"),
    "BASE_URL": _ADDRESS,
    "ADMIN_SITE": (
        lambda value: isinstance(value, str) and bool(value),
        'the name of an admin site, such as "admin"',
    ),
    "ALERT_WAIT_SECONDS": _DURATION,
    "ALERT_INTERVAL_SECONDS": _DURATION,
    "ALERT_DEADLINE_SECONDS": _DURATION,
    "BEAT_PING_URL": _ADDRESS,
    "PING_NETWORKS": (_are_networks, 'a list of networks, such as ["10.0.0.0/8"]'),
    "KEEP_DAYS": _DAYS,
    "KEEP_RUNS": (_is_size, "a number of runs of each job, at least 1, such as 100"),
    "KEEP_AUDIT_DAYS": _DAYS,
    "METRICS_TOKEN": (
        _is_token,
        f"at least {MIN_TOKEN_LENGTH} printable ASCII characters without spaces, or an empty string",
    ),
    "METRICS_NETWORKS": (_are_networks, 'a list of networks, such as ["10.0.0.0/8"]'),
    "TRACING_SETUP": (
        _is_path,
        'the path of a function, such as "mysite.tracing.set_up", or an empty string',
    ),
    "API_TOKEN_MAX_DAYS": (
        lambda value: value is not None and _is_days(value),
        "a number of days, at least 1 and at most a century",
    ),
    "API_REQUESTS_PER_MINUTE": _REQUESTS,
    "API_ADDRESS_REQUESTS_PER_MINUTE": _REQUESTS,
    "API_CLIENT_ADDRESS": (
        _is_path,
        'the path of a function, such as "proj.sign_in.client_address.client_address", or an empty string',
    ),
    "FEEDS": (lambda value: isinstance(value, bool), "True or False"),
    "SENTRY_DSN": (_is_dsn, "a DSN such as https://key@sentry.example.com/1, or an empty string"),
    "SENTRY_ENVIRONMENT": (_is_text, 'a name, such as "production"'),
    "SENTRY_RELEASE": (_is_text, 'the name of a release, such as "2026.11"'),
    "SENTRY_COMMAND_ERRORS": (lambda value: isinstance(value, bool), "True or False"),
    "SENTRY_MONITORS": (_are_names, 'a list of jobs or schedules, such as ["backup", "Nightly *"]'),
}
SECRETS = ("BEAT_PING_URL", "METRICS_TOKEN", "SCHEDULES", "SENTRY_DSN")
"""Not quoted in messages: with the URL, anyone could report that beat is alive; schedules have options."""


def _invalid(name: str, value: Any, expected: str) -> ImproperlyConfigured:
    what = "not valid" if name in SECRETS else repr(value)
    return ImproperlyConfigured(f'{NAME}["{name}"] is {what}; expected {expected.removesuffix(".")}.')


def validated(values: dict[str, Any]) -> dict[str, Any]:
    """The same dictionary, for settings that should fail on an invalid value as soon as they are loaded."""
    _read(values)
    return values


def unknown_keys() -> Iterator[tuple[str, str]]:
    """Each key of ``JOBLEDGER`` that is not a setting, and the nearest one that is, or an empty string."""
    for key in sorted(map(str, set(_overrides()) - set(RULES))):
        yield key, next(iter(get_close_matches(key.upper(), RULES, n=1)), "")


@cache
def current() -> Settings:
    """The settings in force. Raises ImproperlyConfigured."""
    return _read(_overrides())


class _Current:
    """Reads each setting when it is used, so that tests can override it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(current(), name)


settings = cast(Settings, _Current())


def _overrides() -> Any:
    return getattr(django_settings, NAME, {})


def _read(values: Any) -> Settings:
    if not isinstance(values, Mapping):
        expected = 'a dictionary such as {"LEASE_SECONDS": 60}'
        raise ImproperlyConfigured(f"{NAME} is {values!r}; expected {expected}.")
    return Settings(**{name: value for name, value in values.items() if name in RULES})


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == NAME:
        current.cache_clear()


setting_changed.connect(_forget)
