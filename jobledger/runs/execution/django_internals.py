"""The private parts of Django that this package uses. No other module touches them.

A comment on each use says what the public API lacks. Tests fail if a Django release changes any of them.
"""

from typing import Any

from django.core.management.base import OutputWrapper
from django.db.backends.base.base import BaseDatabaseWrapper


def wrapped_stream(stream: Any) -> Any:
    """The stream that a command's ``self.stdout`` writes to; any other stream is returned unchanged."""
    return stream._out if isinstance(stream, OutputWrapper) else stream  # noqa: SLF001 - no public attribute


def is_in_test_case(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection is in a transaction that a ``TestCase`` has begun, and will roll back."""
    blocks: list[Any] = connection.atomic_blocks
    return any(block._from_testcase for block in blocks)  # noqa: SLF001 - no public attribute
