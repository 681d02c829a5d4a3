"""Sends a message to a destination: by Django's mail, or with Apprise, which is optional.

Nothing here waits for long, and no secret of a URL gets into an error. Apprise swallows exceptions and only
logs them, so what it logs in this thread is the error. What it and others log appears in no log meanwhile,
because it quotes URLs: at the level DEBUG, urllib3 logs the path of every request.
"""

import importlib
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from django.conf import settings

from jobledger.alerts.sending.message import Message
from jobledger.jobs.json_text import readable
from jobledger.jobs.secrets import MASK
from jobledger.models import AlertDestination, DestinationKind

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
"""A server that takes longer to confirm may have accepted the message, and gets it again."""
MAX_ERROR_LENGTH = 500
INSTALL = "Install Apprise to use URLs: pip install 'django-jobledger[alerts]'."

_MIN_SECRET_LENGTH = 4
_MARGIN = 50
"""Characters that the markup of a title takes."""
_APPRISE = "apprise"
_OURS = ("jobledger", "django")
"""The loggers whose records are not withheld: they quote no URL."""


class NotDeliveredError(Exception):
    """The destination did not accept the message; the error message is for operators, and has no secrets."""


def send(destination: AlertDestination, message: Message, message_id: UUID) -> None:
    """Send the message. Raises NotDeliveredError."""
    try:
        if destination.kind == DestinationKind.URL:
            _send_to_url(destination.url, message)
        else:
            _send_mail(destination.mail_addresses, message, message_id)
    except NotDeliveredError:
        raise
    except (OSError, ValueError) as error:  # OSError includes what smtplib raises
        text = f"{type(error).__name__}: {error}"
        raise NotDeliveredError(_without_secrets(destination.url, text)[:MAX_ERROR_LENGTH]) from error


def why_invalid(url: str) -> str:
    """Why no message can be sent to this URL; empty if one can."""
    try:
        apprise = _apprise()
    except NotDeliveredError as error:
        return str(error)
    with _withheld():
        is_supported = apprise.Apprise.instantiate(url) is not None
    if not is_supported:
        return "This is not a URL that Apprise supports. Examples: slack://…, mailtos://…, jsons://…"
    return ""


def _apprise() -> Any:
    """Apprise, which only destinations with a URL need. Raises NotDeliveredError."""
    try:
        importlib.import_module("apprise.conversion")
        return importlib.import_module("apprise")
    except ImportError as error:
        raise NotDeliveredError(INSTALL) from error


def _send_mail(addresses: list[str], message: Message, message_id: UUID) -> None:
    if not addresses:
        raise NotDeliveredError("There is no address to send mail to.")
    # Imported here, because it takes a tenth of the start-up time of any command, and only beat needs it.
    from django.core.mail import get_connection

    from jobledger.alerts.sending.mail import Mail

    connection = get_connection()
    # Of the SMTP backend; Django's default is to wait forever.
    if hasattr(connection, "timeout") and connection.timeout is None:
        connection.timeout = READ_SECONDS
    Mail(
        subject=f"{settings.EMAIL_SUBJECT_PREFIX}{message.subject}",
        body=message.body,
        from_email=settings.SERVER_EMAIL,
        to=addresses,
        # No mail server of a person on holiday answers these.
        headers={
            "Message-ID": f"<{message_id}@jobledger>",
            "Auto-Submitted": "auto-generated",
            **message.headers,
        },
        connection=connection,
    ).send()


def _send_to_url(url: str, message: Message) -> None:
    apprise = _apprise()
    with _withheld():
        # Whoever follows a redirect leaves the message behind, and a login page answers 200 as well.
        target = apprise.Apprise.instantiate(url, asset=apprise.AppriseAsset(http_redirects=False))
    if target is None:
        raise NotDeliveredError("Apprise does not support this URL.")
    target.socket_connect_timeout = CONNECT_SECONDS
    target.socket_read_timeout = READ_SECONDS
    # Again, because now all loggers exist that its modules use.
    with _withheld() as lines:
        is_accepted = target.notify(**_content(target, message))
    if not is_accepted:
        why = " ".join(lines) or "Apprise could not deliver it."
        raise NotDeliveredError(_without_secrets(url, why)[:MAX_ERROR_LENGTH])


def _content(target: Any, message: Message) -> Mapping[str, Any]:
    """The message as the service expects it: converted from plain text, and no longer than it accepts.

    ``Apprise.notify`` would convert it, too, but sends in a thread of its own, whose log is not ours. What is
    too long is cut, because the second part of a message might fail, and all of it would be sent again.
    """
    apprise = _apprise()
    text = apprise.NotifyFormat.TEXT
    wanted = target.resolve_format(text)

    def converted(plain: str) -> str:
        return str(apprise.conversion.convert_between(text, wanted, plain))

    body, title = converted(message.body), message.subject
    if len(body) + len(title) + _MARGIN > target.body_maxlen:
        body = converted(message.short_body or message.body)
    return {
        "body": body,
        # Without titles, it becomes a part of the body.
        "title": title if target.title_maxlen > 0 else converted(title),
        "notify_type": apprise.NotifyType.SUCCESS if message.is_good_news else apprise.NotifyType.FAILURE,
        "body_format": wanted,
        "body_passthrough": False,
        "overflow": apprise.OverflowMode.TRUNCATE,
    }


class _Withholding(logging.Filter):
    """Keeps what a thread logs while it sends.

    There is one for all threads, and it stays with the loggers: if filters were removed while another thread
    goes through them, that thread could skip its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_thread = threading.local()

    def begin(self) -> list[str]:
        """From now on, withhold what this thread logs; returns what Apprise will have warned of."""
        lines: list[str] = []
        self._of_thread.lines = lines
        # A list at once, because other threads may add loggers.
        known = list(logging.root.manager.loggerDict)
        for name in {*known, _APPRISE}:
            if name.partition(".")[0] not in _OURS:
                logging.getLogger(name).addFilter(self)
        return lines

    def end(self) -> None:
        self._of_thread.lines = None

    def filter(self, record: logging.LogRecord) -> bool:
        lines: list[str] | None = getattr(self._of_thread, "lines", None)
        if lines is None:
            return True
        if record.name == _APPRISE and record.levelno >= logging.WARNING:
            lines.append(readable(record.getMessage()))
        return False


_withholding = _Withholding()


@contextmanager
def _withheld() -> Iterator[list[str]]:
    """What Apprise warns of in this thread in the block; whatever libraries log in it is withheld."""
    try:
        yield _withholding.begin()
    finally:
        _withholding.end()


def _without_secrets(url: str, text: str) -> str:
    """The text without any part of the URL: in many of them, even the host is a secret."""
    address = url.partition("://")[2]
    parts = {part for text in (address, unquote(address)) for part in re.split(r"[^\w.-]+", text)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _MIN_SECRET_LENGTH:
            text = text.replace(part, MASK)
    return text
