"""A mail whose addresses in headers stay readable."""

from typing import Any

from django.core.mail import EmailMessage

MAX_LINE_LENGTH = 998
"""Of a header (RFC 5322)."""


class Mail(EmailMessage):
    """Since Django 6, Python would otherwise encode a long address in a header, and clients not decode it."""

    def message(self, **kwargs: Any) -> Any:
        return super().message(**with_long_lines(kwargs))


def with_long_lines(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of Django's method; before Django 6, it has no policy."""
    if policy := kwargs.get("policy"):
        return {**kwargs, "policy": policy.clone(max_line_length=MAX_LINE_LENGTH)}
    return kwargs
