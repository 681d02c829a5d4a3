"""What the environment says, judged: a value that makes no sense is named, with what would be right."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
BROKERS = ("redis", "rediss", "redis+socket", "sentinel")
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")


class Environment(environ.FileAwareEnv):  # type: ignore[misc]  # django-environ has no types
    """Variables of the environment, or of ``.env``, or of a file that ``NAME_FILE`` names.

    Every method raises ImproperlyConfigured, which names the variable, when its value makes no sense.
    """

    def text(self, name: str, default: str = "") -> str:
        """Any text, without the white space around it."""
        return str(self.str(name, default=default)).strip()

    def texts(self, name: str, default: list[str]) -> list[str]:
        """Texts between commas."""
        if not (text := self.text(name)):
            return default
        return [part.strip() for part in text.split(",") if part.strip()]

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """Pairs between commas, such as ``a=b,c=d``; a left side may come again."""
        pairs = [tuple(map(str.strip, part.partition("=")[::2])) for part in self.texts(name, [])]
        wanted = "pairs such as ops=Job operators,dev=Job viewers"
        return self._checked(name, [(a, b) for a, b in pairs], lambda them: all(map(all, them)), wanted)

    def issuer(self, name: str) -> str:
        """The address of an OpenID Connect provider; empty: none. Plain HTTP only on this machine."""
        wanted = "an address such as https://login.example.com/realms/staff"
        return self._checked(name, self.text(name).rstrip("/"), _is_issuer, wanted)

    def networks(self, name: str) -> list[IPv4Network | IPv6Network]:
        """IP addresses and networks between commas."""
        wanted = "addresses or networks between commas, such as 10.0.0.5,172.16.0.0/12"
        try:
            return [ip_network(text) for text in self.texts(name, [])]
        except ValueError as error:
            raise self._wrong(name, wanted) from error

    def flag(self, name: str, *, default: bool) -> bool:
        """``true`` or ``false``, and what else people write for it."""
        text = self.text(name, str(default)).lower()
        if text not in (*YES, *NO):
            raise self._wrong(name, "true or false")
        return text in YES

    def whole(self, name: str, default: int, *, least: int = 1) -> int:
        """A whole number."""
        wanted = f"a whole number of at least {least}"
        return self._checked(
            name, self._parsed(name, int, str(default), wanted), lambda it: it >= least, wanted
        )

    def seconds(self, name: str, default: float) -> float:
        """A number of seconds above 0."""
        wanted = "a number of seconds above 0, such as 2.5"
        value = self._parsed(name, float, str(default), wanted)
        return self._checked(name, value, lambda it: 0 < it < float("inf"), wanted)

    def zone(self, name: str, default: str) -> str:
        """A time zone's name."""
        wanted = "the name of a time zone, such as Europe/London"
        return self._checked(name, self.text(name, default), lambda it: it in available_timezones(), wanted)

    def log_level(self, name: str, default: str) -> str:
        """How much is logged."""
        level = self.text(name, default).upper()
        return self._checked(name, level, lambda it: it in LEVELS, f"one of {', '.join(LEVELS)}")

    def broker(self, name: str, default: str) -> str:
        """The URL of a Redis protocol server."""
        wanted = "a URL such as redis://:password@host:6379/0 or redis+socket:///path"
        url = self.text(name, default) or default
        return self._checked(name, url, lambda it: it.partition("://")[0] in BROKERS and "://" in it, wanted)

    def database(self, name: str, default: str) -> dict[str, Any]:
        """Django's settings of the database that the URL names: PostgreSQL or SQLite."""
        wanted = "a URL such as postgres://user:password@host:5432/name or sqlite:////path/db.sqlite3"
        url = self.text(name, default) or default
        kinds = ("postgres", "postgresql", "sqlite")
        self._checked(name, url, lambda it: it.partition("://")[0] in kinds and "://" in it, wanted)
        settings: dict[str, Any] = self.db_url_config(url)
        return settings

    def _parsed(self, name: str, parse: Callable[[str], T], default: str, wanted: str) -> T:
        try:
            return parse(self.text(name, default) or default)
        except ValueError as error:
            raise self._wrong(name, wanted) from error

    def _checked(self, name: str, value: T, is_right: Callable[[T], bool], wanted: str) -> T:
        if not is_right(value):
            raise self._wrong(name, wanted)
        return value

    def _wrong(self, name: str, wanted: str) -> ImproperlyConfigured:
        # A URL holds a password: what it is wrong about is said without it.
        said = "has a value that is none" if name.endswith("_URL") else f"is {self.text(name)!r}"
        return ImproperlyConfigured(f"{name} {said}; wanted: {wanted}.")


def _is_issuer(text: str) -> bool:
    try:
        address = urlsplit(text)
        local = address.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False
    is_address = address.scheme == "https" or (address.scheme == "http" and local)
    return not text or (is_address and bool(address.hostname) and not address.query and not address.fragment)
