"""What is needed of Django beyond its public API. No other module touches what Django keeps private.

Beside each private name stands what the public API lacks. A test fails when a Django release changes it.
"""

from typing import Any

from django.core.management.base import OutputWrapper


def wrapped_stream(stream: Any) -> Any:
    """The stream that a command's ``self.stdout`` writes to; any other stream as it is."""
    return stream._out if isinstance(stream, OutputWrapper) else stream  # noqa: SLF001 - no public attribute
