"""The private parts of Python's ``contextlib`` that this package uses. No other module touches them.

A comment on each use says what the public API lacks. Tests fail if a Python release changes any of them.
"""

from contextlib import redirect_stderr, redirect_stdout
from typing import Any


def target_of(redirection: redirect_stdout[Any] | redirect_stderr[Any]) -> Any:
    """What was given to ``redirect_stdout`` or ``redirect_stderr``."""
    target: Any = redirection
    return target._new_target  # noqa: SLF001 - nothing public says where it leads before it is entered
