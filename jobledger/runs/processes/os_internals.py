"""The private parts of Python's ``os`` and ``signal`` that this package uses. No other module touches them.

A comment on each use says what the public API lacks. Tests fail if a Python release changes any of them.
"""

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

_environ: Any = os.environ
_signal: Any = import_module("_signal")  # without type information

# The public functions make a member of an enumeration of each number and handler that is one, which is felt:
# each run looks at all signals several times.
handler_of: Callable[[int], Any] = _signal.getsignal
set_handler: Callable[[int, Any], Any] = _signal.signal
set_mask: Callable[[int, Iterable[int]], set[int]] = _signal.pthread_sigmask


def environment() -> dict[bytes, bytes]:
    """The variables, as ``os.environb`` has them."""
    # The public mappings convert each name and value.
    return dict(_environ._data)  # noqa: SLF001 - as above
