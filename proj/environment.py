"""Reads and validates environment variables. Errors name the variable and what is expected."""

import ssl
from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured

from jobledger.logs.formatters import AUTO, FORMATS

T = TypeVar("T")

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DATABASE_SCHEMES = ("postgres", "postgresql", "sqlite")
BROKERS = ("redis", "rediss", "redis+socket", "sentinel")
RABBITMQ = ("amqp", "amqps")
DAYS = "a number of days of at least 1"
SENTINEL, SENTINEL_PORT = "sentinel://", 26379
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")


class Environment(environ.FileAwareEnv):  # type: ignore[misc]  # django-environ has no types
    """Variables from the environment, from ``.env``, or from a file named by ``NAME_FILE``.

    All methods raise ImproperlyConfigured, which names the variable, if its value is invalid.
    """

    def text(self, name: str, default: str = "") -> str:
        """Any text; leading and trailing whitespace is removed."""
        try:
            return str(self.str(name, default=default)).strip()
        except (OSError, UnicodeDecodeError) as error:
            file = f"{name}_FILE"
            raise ImproperlyConfigured(
                f"{file} is {self.ENVIRON.env.get(file)!r}, which cannot be read: {_reason(error)}."
            ) from error

    def texts(self, name: str, default: list[str]) -> list[str]:
        """A comma-separated list."""
        if not (text := self.text(name)):
            return default
        return [part.strip() for part in text.split(",") if part.strip()]

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """A comma-separated list of pairs, such as ``a=b,c=d``; left sides may be repeated."""
        pairs = [tuple(map(str.strip, part.partition("=")[::2])) for part in self.texts(name, [])]
        expected = "pairs such as ops=Job operators,dev=Job viewers"
        return self._checked(name, [(a, b) for a, b in pairs], lambda them: all(map(all, them)), expected)

    def issuer(self, name: str) -> str:
        """The address of an OpenID Connect provider; empty: none. Plain HTTP only for localhost."""
        expected = "an address such as https://login.example.com/realms/staff"
        return self._checked(name, self.text(name).rstrip("/"), _is_issuer, expected)

    def server(self, name: str) -> str:
        """The address of a server that is asked over HTTP; empty: none."""
        if not _is_server(address := self.text(name)):
            expected = "an address such as http://otel-collector:4318"
            raise self._invalid(name, expected, value="is not a valid URL")
        return address

    def networks(self, name: str) -> list[IPv4Network | IPv6Network]:
        """A comma-separated list of IP addresses and networks."""
        expected = "a comma-separated list of addresses or networks, such as 10.0.0.5,172.16.0.0/12"
        try:
            return [ip_network(text) for text in self.texts(name, [])]
        except ValueError as error:
            raise self._invalid(name, expected) from error

    def flag(self, name: str, *, default: bool) -> bool:
        """``true`` or ``false``, or a common alternative."""
        text = self.text(name, str(default)).lower()
        if text not in (*TRUE, *FALSE):
            raise self._invalid(name, "true or false")
        return text in TRUE

    def whole(self, name: str, default: int, *, minimum: int = 1) -> int:
        """An integer."""
        expected = f"an integer of at least {minimum}"
        value = self._parsed(name, int, str(default), expected)
        return self._checked(name, value, lambda it: it >= minimum, expected)

    def seconds(self, name: str, default: float) -> float:
        """A positive number of seconds."""
        expected = "a positive number of seconds, such as 2.5"
        value = self._parsed(name, float, str(default), expected)
        return self._checked(name, value, lambda it: 0 < it < float("inf"), expected)

    def days(self, name: str, default: float) -> float | None:
        """A number of days; None for ``forever``."""
        if self.text(name).lower() == "forever":
            return None
        return self._days(name, default, f"{DAYS}, or forever")

    def limited_days(self, name: str, default: float) -> float:
        """A number of days."""
        return self._days(name, default, DAYS)

    def zone(self, name: str, default: str) -> str:
        """The name of a time zone."""
        expected = "the name of a time zone, such as Europe/London"
        return self._checked(name, self.text(name, default), _is_zone, expected)

    def log_level(self, name: str, default: str) -> str:
        """The name of a log level."""
        level = self.text(name, default).upper()
        return self._checked(name, level, lambda it: it in LEVELS, f"one of {', '.join(LEVELS)}")

    def log_format(self, name: str) -> str:
        """The name of a format of logs."""
        text = self.text(name).lower() or AUTO
        return self._checked(name, text, lambda it: it in FORMATS, f"one of {', '.join(FORMATS)}")

    def key_prefix(self, name: str, default: str) -> str:
        """The beginning of keys and channels in Redis; kombu also uses it in patterns."""
        expected = "a text without spaces, *, ?, [, ] and \\, such as jobs:"
        return self._checked(name, self.text(name, default), _is_key_prefix, expected)

    def broker(self, name: str, default: str) -> str:
        """The URL of a Redis server, or the URLs of its Sentinels."""
        expected = (
            "a URL such as redis://:password@host:6379/0, rediss://…, redis+socket:///path, or "
            "sentinel://:password@host1:26379;sentinel://host2:26379/0"
        )
        url = self.text(name, default) or default
        return _complete_sentinels(self._checked(name, url, _is_broker, expected))

    def rabbitmq(self, name: str) -> str:
        """The URL of a RabbitMQ server, or the URLs of several, of which any is used; empty: none."""
        expected = "a URL such as amqp://user:password@host:5672/vhost, or amqps://…"
        return self._checked(name, self.text(name), _is_rabbitmq, expected)

    def result_backend(self, name: str) -> str:
        """A URL of any kind that Celery knows, of which those of Sentinels are validated; empty: none."""
        url = self.text(name)
        return self.broker(name, url) if url.startswith(SENTINEL) else url

    def certificates(self, name: str) -> str:
        """CA certificates in PEM format; empty: none."""
        if not (text := self.text(name)):
            return ""
        try:
            ssl.create_default_context(cadata=text)
        except (ssl.SSLError, ValueError) as error:
            raise self._invalid(name, "CA certificates in PEM format", value="is not valid") from error
        return text

    def database(self, name: str, default: str) -> dict[str, Any]:
        """Django's database settings for the URL of a PostgreSQL or SQLite database."""
        expected = "a URL such as postgres://user:password@host:5432/name or sqlite:////path/db.sqlite3"
        url = self.text(name, default) or default
        return self._from_url(name, url, DATABASE_SCHEMES, self.db_url_config, expected)

    def mail_server(self, name: str) -> dict[str, Any]:
        """Django's settings for the mail server of a URL; none if it is empty."""
        expected = "a URL such as smtp+tls://user:password@mail.example.com:587"
        url = self.text(name)
        return self._from_url(name, url, self.EMAIL_SCHEMES, self.email_url_config, expected) if url else {}

    def _days(self, name: str, default: float, expected: str) -> float:
        value = self._parsed(name, float, str(default), expected)
        return self._checked(name, value, lambda it: 1 <= it < float("inf"), expected)

    def _parsed(self, name: str, parse: Callable[[str], T], default: str, expected: str) -> T:
        try:
            return parse(self.text(name, default) or default)
        except ValueError as error:
            raise self._invalid(name, expected) from error

    def _from_url(
        self,
        name: str,
        url: str,
        schemes: Collection[str],
        parse: Callable[[str], dict[str, Any]],
        expected: str,
    ) -> dict[str, Any]:
        scheme, separator, _ = url.partition("://")
        if not separator or scheme not in schemes:
            raise self._invalid(name, expected)
        try:
            return parse(url)
        except ValueError as error:  # quotes a part of a password that is not percent-encoded
            raise self._invalid(name, expected) from error

    def _checked(self, name: str, value: T, is_valid: Callable[[T], bool], expected: str) -> T:
        if not is_valid(value):
            raise self._invalid(name, expected)
        return value

    def _invalid(self, name: str, expected: str, value: str = "") -> ImproperlyConfigured:
        # Do not quote a URL, which contains a password.
        quoted = "is not a valid URL" if name.endswith("_URL") else f"is {self.text(name)!r}"
        return ImproperlyConfigured(f"{name} {value or quoted}; expected {expected}.")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (isinstance(error, OSError) and error.strerror) or "it is not text"


def _complete_sentinels(url: str) -> str:
    """The same URL; of several Sentinels, each gets the first one's credentials, and any one's database.

    Celery connects to any of them, with what its own part of the URL says, and expects a scheme and a port.
    """
    if not url.startswith(SENTINEL):
        return url
    parts = [_sentinel(part) for part in url.split(";")]
    database = next((part.path for part in parts if part.path.strip("/")), "")
    user, at, _ = parts[0].netloc.rpartition("@")
    hosts = [part.netloc.rpartition("@")[2] for part in parts]
    ports = ["" if part.port else f":{SENTINEL_PORT}" for part in parts]
    return ";".join(
        f"{SENTINEL}{user}{at}{host}{port}{database}" for host, port in zip(hosts, ports, strict=True)
    )


def _is_broker(text: str) -> bool:
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in BROKERS:
        return False
    is_single = scheme in ("redis", "rediss") and ";" not in text
    try:
        if scheme == "sentinel":
            parts = [_sentinel(part) for part in text.split(";")]
            return all(part.hostname and part.port != 0 and part.scheme == scheme for part in parts)
        # Of a password that is not percent-encoded, a part may be taken for the port, and errors quote it.
        return not is_single or urlsplit(text).port != 0
    except ValueError:
        return False


def _is_rabbitmq(text: str) -> bool:
    try:
        parts = [urlsplit(part) for part in text.split(";")] if text else []
        return all(part.scheme in RABBITMQ and part.hostname and part.port != 0 for part in parts)
    except ValueError:
        return False


def _sentinel(text: str) -> SplitResult:
    return urlsplit(text if "://" in text else f"{SENTINEL}{text}")


def _is_key_prefix(text: str) -> bool:
    return text.isprintable() and not set(text) & set(" *?[]\\")


def _is_server(text: str) -> bool:
    try:
        address = urlsplit(text)
        return not text or (
            address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        )
    except ValueError:
        return False


def _is_zone(name: str) -> bool:
    """As ``zoneinfo.available_timezones()`` has it, which opens each of some six hundred files."""
    if name.startswith(("posix/", "right/", "posixrules")):
        return False
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _is_issuer(text: str) -> bool:
    try:
        address = urlsplit(text)
        local = address.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False
    is_address = address.scheme == "https" or (address.scheme == "http" and local)
    return not text or (is_address and bool(address.hostname) and not address.query and not address.fragment)
