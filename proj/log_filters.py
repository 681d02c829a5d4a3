"""Keeps what any user or monitor can cause from flooding the log, and secret addresses out of it."""

import logging
import re
from http import HTTPStatus

from jobledger.jobs.secrets import MASK


class WithoutRefusedTracebacks(logging.Filter):
    """A refused request (4xx) takes one line: its traceback says nothing more, and any user can repeat it."""

    def filter(self, record: logging.LogRecord) -> bool:
        is_of_a_request = record.name.startswith(("django.request", "django.security"))
        if is_of_a_request and 400 <= getattr(record, "status_code", 0) < 500:
            # A filter cannot replace the record before Python 3.12.
            record.exc_info = record.exc_text = record.stack_info = None
        return True


class WithoutReadiness(logging.Filter):
    """That the service is not ready is an answer, not an error, and is repeated at every poll."""

    def filter(self, record: logging.LogRecord) -> bool:
        match = getattr(getattr(record, "request", None), "resolver_match", None)
        is_unready = getattr(record, "status_code", 0) == HTTPStatus.SERVICE_UNAVAILABLE
        return not (is_unready and match and match.view_name == "jobledger:readiness")


_SECRET_ADDRESS = re.compile(r"(/(?:feeds|unsubscribe|v1/start)/)[^\s?#]+")


def without_secret_addresses(text: str) -> str:
    """The text with what guards feeds, subscriptions and the start of a job masked."""
    return _SECRET_ADDRESS.sub(rf"\1{MASK}", text)


class WithoutSecretAddresses(logging.Filter):
    """For ``runserver``, which logs the path of each request; ``proj.web_log`` does the same for gunicorn."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(self._hidden, record.args))
        return True

    def _hidden(self, value: object) -> object:
        return without_secret_addresses(value) if isinstance(value, str) else value
